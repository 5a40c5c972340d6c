"""The unit of docs/systemd.md, with the signals that systemd sends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.test_lost_database import say
from tests.support.proxy import ROOT, TOOLS, Proxy, _ports, environment, free_port, wait_for
from tests.support.scripted_api import ScriptedServer
from tests.support.soak_faults import guardians

PAGE = (ROOT / "docs" / "systemd.md").read_text("utf-8")


def unit() -> ConfigParser:
    (text,) = re.findall(r"```ini\n(.*?)```", PAGE, re.S)
    parsed = ConfigParser(interpolation=None, comment_prefixes="#")
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(text.replace("\\\n", " "))
    return parsed


@contextmanager
def started(home: Path, api: ScriptedServer) -> Iterator[Proxy]:
    """What `ExecStart` names, in another place and without a login of anybody's."""
    line = unit()["Service"]["ExecStart"]
    line = line.replace("/var/lib/sessionbridge/mitmproxy", str(home / "mitm"))
    line = line.replace("/var/lib/sessionbridge", str(home))
    line = line.replace("/opt/sessionbridge/.venv/bin", str(TOOLS))
    line = line.replace("--port 8080", f"--port {free_port()}")
    command = shlex.split(line)
    for name in ("CLAUDE_CODE_OAUTH_TOKEN", f"ANTHROPIC_BASE_URL={api.url}"):
        command += ["--set", f"sessionbridge_claude_env={name}"]
    log = home / f"log-{len(list(home.glob('log-*')))}"
    variables = environment(home) | {"CLAUDE_CODE_OAUTH_TOKEN": "dummy"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=variables, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        ports = wait_for(lambda: _ports(process, log, 1), "mitmdump to listen", timeout=60)
        with ExitStack() as clients:
            yield Proxy(process, ports, home, log, home / "record", clients)
    finally:
        process.kill()
        process.wait()


def group(proxy: Proxy) -> list[int]:
    return [proxy.process.pid, *proxy.children(), *guardians(proxy)]


def send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def test_a_turn_under_way_is_waited_for(tmp_path: Path, api: ScriptedServer) -> None:
    assert unit()["Service"]["KillMode"] == "mixed"
    limit = int(unit()["Service"]["TimeoutStopSec"])
    gate = f"systemd-{tmp_path.name}"
    with started(tmp_path, api) as proxy, ThreadPoolExecutor(1) as pool:
        assert say(proxy, "My name is Tess.").status_code == 200
        turn = pool.submit(say, proxy, f"Wait. [gate {gate}]")
        api.wait_until_held(gate)
        send([proxy.process.pid], signal.SIGTERM)
        wait_for(lambda: "turns under way" in proxy.log or "SIGTERM" in proxy.log, "it to be told")
        api.open_gate(gate)
        assert turn.result().status_code == 200
        assert proxy.process.wait(limit) == 0  # which Restart=on-failure takes for an end
    with started(tmp_path, api) as proxy:
        assert "Tess" in say(proxy, "Who am I?").text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["reboot", "kill"])
def test_all_are_ended_at_once(tmp_path: Path, api: ScriptedServer, number: signal.Signals) -> None:
    gate = f"systemd-{tmp_path.name}"
    with started(tmp_path, api) as proxy, ThreadPoolExecutor(1) as pool:
        assert say(proxy, "My name is Tess.").status_code == 200
        turn = pool.submit(say, proxy, f"This is never answered. [gate {gate}]")
        api.wait_until_held(gate)
        send(group(proxy), number)
        assert turn.exception() or turn.result().status_code >= 500
        proxy.process.wait(60)
        api.open_gate(gate)
    with started(tmp_path, api) as proxy:
        marked = f"Who am I? ({tmp_path})"
        assert "Tess" in say(proxy, marked).text
    assert [len(shown) for shown in api.seen(marked)] == [3]
