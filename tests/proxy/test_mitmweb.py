"""What a person sees: mitmweb with a bridged flow open, and the dashboard of the same proxy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.test_end_to_end import messages_json, messages_stream
from tests.support.proxy import TOOLS, Proxy, environment, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer, assistant, user

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

PASSWORD = "only-for-this-test"
SCHEMES = ("http", "https")
KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_write": "cache_creation_input_tokens",
    "cache_read": "cache_read_input_tokens",
}
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-sync"]
HELLO, QUESTION = "My name is Bob.", "What is my name?"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        made = browser.new_page(locale="en-US")
        made.set_default_timeout(30_000)
        made.clock.install()  # goes on as clocks do; a test may set it forward
        yield made
        browser.close()


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer
) -> Iterator[tuple[Proxy, str]]:
    """A mitmweb with four bridged flows of one conversation: the third is streamed, the last is for
    the test that replays it."""
    home, port = tmp_path_factory.mktemp("web"), free_port()
    arguments = ["--no-web-open", "--web-host", "127.0.0.1", "--web-port", str(port)]
    arguments += ["--set", f"web_password={PASSWORD}"]
    modes = [f"regular@{free_port()}", f"reverse:{api.url}@{free_port()}"]
    arguments += [word for mode in modes for word in ("--mode", mode)]
    with running_proxy(home, api.url, *arguments, tool="mitmweb") as proxy:
        headers = {"X-OpenClaw-Session": "web"}
        talk = [user(HELLO)]
        for ask in (messages_json, messages_json, messages_stream, messages_json):
            talk += [assistant(ask(proxy, headers, False)(talk)), user(QUESTION)]
        proxy.bridged("web", 4)
        yield proxy, f"http://127.0.0.1:{port}/?token={PASSWORD}"


def opened(page: Page, address: str, number: int, tab: str) -> str:
    """What is shown of a flow; the first is number 1."""
    page.goto(address)
    page.locator("tr", has_text="/v1/messages").nth(number - 1).click()
    page.get_by_text(tab, exact=True).first.click()
    # The name of the view is on its button, which opens the list of all others.
    expect(page.get_by_text("Session bridge").first).to_be_visible()
    return page.locator(".contentview").inner_text()


COLUMNS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


def counts(shown: str) -> list[str]:
    """The numbers beneath the headings of the table of tokens, but for the sums."""
    found = re.search(r"^Tokens .*cache hit\s+([\d,]+ .*)$", shown, re.MULTILINE)
    assert found, shown
    return found[1].split()[: len(COLUMNS)]


@pytest.mark.parametrize("number", [2, 3], ids=["whole", "streamed"])
def test_the_answer_and_the_counts(page: Page, web: tuple[Proxy, str], number: int) -> None:
    proxy, address = web
    noted = proxy.bridged("web", 4)[number - 1]["metadata"]
    shown = opened(page, address, number, "Response")
    assert "Your name is Bob." in shown
    assert noted["usage"]["input_tokens"] > 0
    assert counts(shown) == [f"{noted['usage'][name]:,}" for name in COLUMNS]
    assert "event:" not in shown and "{" not in shown


def test_who_asked_and_what_was_new(page: Page, web: tuple[Proxy, str]) -> None:
    proxy, address = web
    noted = proxy.bridged("web", 4)[1]["metadata"]
    shown = opened(page, address, 2, "Request")
    assert "openclaw" in shown and QUESTION in shown
    assert noted["session"] in shown and noted["command"] in shown
    assert "continued" in shown


def test_the_list_marks_and_comments_it(page: Page, web: tuple[Proxy, str]) -> None:
    proxy, address = web
    page.goto(address)
    row = page.locator("tr", has_text="/v1/messages").nth(1)
    expect(row).to_contain_text("🔗")
    row.click()
    page.get_by_text("Comment", exact=True).first.click()
    expect(page.get_by_text("resume continued · openclaw").first).to_be_visible()


def test_the_dashboard_and_the_command_line_tell_the_same(
    page: Page, web: tuple[Proxy, str]
) -> None:
    proxy, _ = web
    (told,) = costs(proxy)
    page.goto(f"http://127.0.0.1:{proxy.ports[1]}/.sessionbridge/")
    turns = page.get_by_test_id("total-turns")
    expect(turns).to_have_attribute("data-value", str(told["turns"]))
    assert told["turns"] >= 4
    for name, column in {"input": "input_tokens", "cost": "cost_usd"}.items():
        value = page.get_by_test_id(f"total-{name}").get_attribute("data-value")
        assert float(value or "nan") == pytest.approx(told[column])


def test_its_polling_leaves_the_list_of_flows_alone(page: Page, web: tuple[Proxy, str]) -> None:
    proxy, address = web
    page.goto(f"http://127.0.0.1:{proxy.ports[1]}/.sessionbridge/")
    expect(page.get_by_test_id("connection")).to_contain_text("Updated")
    for _ in range(4):
        with page.expect_response("**/api/overview*") as asked:
            page.clock.run_for(3_100)
        assert asked.value.ok and asked.value.json()
    page.goto(address)
    page.locator("tr", has_text="/v1/messages").first.wait_for()
    assert page.locator("tr", has_text="/.sessionbridge/").count() <= 2


def test_a_replayed_flow_is_a_retry(page: Page, web: tuple[Proxy, str]) -> None:
    proxy, address = web
    opened(page, address, 4, "Response")
    page.get_by_role("button", name="Replay").click()
    replayed = proxy.bridged("web", 5)[-1]["metadata"]
    assert (replayed["plan"], replayed["reason"]) == ("fork", "retried")
    expect(page.get_by_text("retried").first).to_be_visible()


def test_metrics_through_the_proxy_equal_the_ledger(web: tuple[Proxy, str]) -> None:
    proxy, _ = web
    by_platform = costs(proxy)
    reverse = f"http://127.0.0.1:{proxy.ports[1]}/.sessionbridge/metrics"
    told = [
        httpx.get(reverse, trust_env=False),
        *(proxy.http().get(f"{scheme}://sessionbridge.local/metrics") for scheme in SCHEMES),
    ]
    for answer in told:
        assert answer.status_code == 200
        counted = metrics(answer.text)
        for kind, column in KINDS.items():
            samples = counted[f"sessionbridge_tokens_total {kind}"]
            assert samples == sum(row[column] for row in by_platform)
        assert counted["sessionbridge_turns_total "] == sum(row["turns"] for row in by_platform)


def metrics(text: str) -> Counter[str]:
    """The sum of each counter, and for tokens of each kind."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[f"{sample.name} {sample.labels.get('kind', '')}"] += int(sample.value)
    return found


def costs(proxy: Proxy) -> list[dict[str, Any]]:
    home = proxy.home
    ran = subprocess.run(
        [TOOLS / "sessionbridge", "--home", home / "bridge", "cost", "--json"],
        env=environment(home),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows
