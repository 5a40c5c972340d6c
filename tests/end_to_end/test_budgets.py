"""A budget over the proxies of one home, whose turns run at the same time and end hard."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from sessionbridge.cli.main import cli
from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer, user

MESSAGES = "https://api.anthropic.com/v1/messages"
LONGEST = 5000


class Client:
    """One with a budget for `turns` whole turns from now on, by three proxies."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.token = json.loads(self._command("add", "ann", "--json"))["token"]

    def _command(self, *arguments: str) -> str:
        command = ["--home", str(self._home / "bridge"), "clients", *arguments]
        return CliRunner().invoke(cli, command, catch_exceptions=False).stdout

    def may_ask(self, turns: int) -> None:
        # As much again and half as much would be two turns.
        tokens = self.used + LONGEST * turns + LONGEST // 2
        self._command("set", "ann", "--tokens", f"{tokens}/month")

    @property
    def used(self) -> int:
        budgets = json.loads(self._command("show", "ann", "--json"))["budgets"]
        return sum(int(budget["used"]) for budget in budgets)

    def ask(self, proxy: Proxy, number: int, gate: str) -> httpx.Response:
        body: dict[str, Any] = {"model": "sonnet", "max_tokens": LONGEST}
        body["messages"] = [user(f"Number {number}. [gate {gate}]")]
        headers = {"x-api-key": self.token, "x-sessionbridge-session": f"chat-{number}"}
        return proxy.http(headers=headers).post(MESSAGES, json=body)


def test_three_proxies_let_one_turn_of_twenty_through_and_count_it_after_a_crash(
    tmp_path: Path, api: ScriptedServer
) -> None:
    ann = Client(tmp_path)
    options = {"concurrency": "20"}
    with ExitStack() as opened:
        proxies = [
            opened.enter_context(running_proxy(tmp_path, api.url, options=options))
            for _ in range(3)
        ]
        ann.may_ask(1)
        with ThreadPoolExecutor(20) as pool:
            asking = [pool.submit(ann.ask, proxies[n % 3], n, "one-of-20") for n in range(20)]
            refused = [each.result() for each in islice(as_completed(asking), 19)]
            api.wait_until_held("one-of-20")
            api.open_gate("one-of-20")
            statuses = Counter(each.result().status_code for each in asking)
        assert statuses == {200: 1, 429: 19}
        assert {answer.json()["error"]["type"] for answer in refused} == {"rate_limit_error"}
        assert 0 < ann.used < 1000

        before = ann.used
        ann.may_ask(1)
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(ann.ask, proxies[0], 20, "killed")
            api.wait_until_held("killed")
            proxies[0].process.kill()
            assert killed.exception() is not None
        api.open_gate("killed")
        assert ann.used - before > LONGEST
        assert ann.ask(proxies[1], 21, "never").status_code == 429
        ann.may_ask(1)
        api.open_gate("again")
        assert ann.ask(proxies[2], 22, "again").status_code == 200
