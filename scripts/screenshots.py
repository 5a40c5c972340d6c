"""Runs the demo and photographs mitmweb with a bridged flow open, and the dashboard.

The demo has four turns only, so the dashboard is shown with a week of invented ones beside them, of
two clients and at two providers.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from playwright.async_api import Page, ViewportSize, async_playwright

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.cli.demo.command import bridged_demo
from sessionbridge.cli.mitm import Mitm
from sessionbridge.model import SessionKey, Usage, scope_of
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.engine import insert
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.dashboard_fixtures import known_client
from tests.support.turn_records import turn

PICTURES = Path(__file__).parent.parent / "addon" / "pictures"
SIZE: ViewportSize = {"width": 1180, "height": 760}
DAY = 24 * 3600
PLANS = (
    *[("resume", "continued", "live")] * 12,
    *[("resume", "appended", "live")] * 4,
    *[("resume", "tool_results", "live")] * 8,
    *[("fresh", "first_turn", "spare")] * 3,
    ("fork", "branched", "new"),
    ("fork", "retried", "new"),
    ("import", "imported", "new"),
)
SPEAKERS = (
    ("", "openclaw", "team-chat", "claude"),
    ("", "openwebui", "recipes", "claude"),
    ("ann", "goclaw", "desk", "claude"),
    ("helpdesk", "sessionbridge", "ticket-17", "bot"),
)
BUDGETS = {
    "ann": (Budget(per="day", usd=2), 1.31, 91_000),
    "helpdesk": (Budget(per="week", tokens=2_000_000), 9.2, 1_730_000),
}


async def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    async with bridged_demo() as mitm, async_playwright() as playwright:
        with tempfile.TemporaryDirectory() as profile:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=shutil.which("chromium"),
                args=[
                    *("--no-sandbox", "--disable-background-networking", "--disable-sync"),
                    f"--proxy-pac-url=data:application/x-ns-proxy-autoconfig,{ways(mitm.port)}",
                ],
                viewport=SIZE,
            )
            page = context.pages[0]
            await photograph_mitmweb(page, mitm)
            invent(mitm.home / DATABASE_NAME)
            await photograph_dashboard(page)
            await context.close()


def ways(port: int) -> str:
    """The dashboard through the proxy, this machine as it is, and all else nowhere."""
    return (
        "function FindProxyForURL(url, host) {"
        f'if (host == "sessionbridge.local") return "PROXY 127.0.0.1:{port}";'
        'return host == "127.0.0.1" ? "DIRECT" : "PROXY 127.0.0.1:9";}'
    )


async def photograph_mitmweb(page: Page, mitm: Mitm) -> None:
    await page.goto(mitm.web_url)
    await page.locator("tr", has_text="/v1/messages").nth(1).click()
    await page.get_by_text("Response", exact=True).first.click()
    await page.get_by_text("Your name is Bob.").first.wait_for()
    await page.screenshot(path=PICTURES / "mitmweb.png")


async def photograph_dashboard(page: Page) -> None:
    await page.goto("http://sessionbridge.local/")
    await page.get_by_text("Updated").first.wait_for()
    await page.locator(".main-svg").nth(6).wait_for()
    await page.screenshot(path=PICTURES / "dashboard.png")


def invent(database: Path) -> None:
    """A week of turns, more by day than by night; the same ones each time."""
    chance = random.Random(7)
    with closing(SessionStore.open(database)) as store:
        for hour in range(7 * 24):
            at = time.time() - 7 * DAY + hour * 3600
            for _ in range(chance.randint(0, 3) if 8 <= time.localtime(at).tm_hour < 20 else 0):
                invent_turn(store, chance, at + chance.randint(0, 3599))
        invent_limits(store, time.time())


def invent_limits(store: SessionStore, now: float) -> None:
    store.keep_plan_windows(
        [
            PlanWindow("claude", "5h", "allowed", 0.42, now + 2.5 * 3600, now),
            PlanWindow("claude", "7d", "allowed", 0.63, now + 4 * DAY, now),
        ]
    )
    for name, (budget, cost_usd, tokens) in BUDGETS.items():
        known_client(store, name, ClientRules(budgets=(budget,)))
        used = {"cost_usd": cost_usd, "tokens": tokens, "started_at": now}
        row = {"client": name, "provider": "claude", **used}
        store.engine.write(partial(insert, table="spending", row=row))


def invent_turn(store: SessionStore, chance: random.Random, at: float) -> None:
    plan, reason, process = chance.choice(PLANS)
    client, platform, name, provider = chance.choice(SPEAKERS)
    usage = Usage(
        chance.randint(5, 900),
        chance.randint(40, 900),
        chance.randint(200, 3_000),
        chance.randint(2_000, 30_000) if plan == "resume" else 0,
    )
    starting = 0 if process == "live" else chance.randint(100, 900)
    store.commit(
        turn(
            key=SessionKey(scope_of(client, platform), name, provider),
            client=client or None,
            internal_id=f"invented-{name}",
            plan=plan,
            reason=reason,
            process=process,
            model=chance.choice(["claude-sonnet-4-5", "claude-haiku-4-5"]),
            usage=usage,
            cost_usd=usage.output_tokens * 15e-6 + usage.prompt_tokens * 1e-6,
            started_at=at,
            ttft_ms=chance.randint(400, 1_100) + starting,
            duration_ms=chance.randint(2_000, 9_000),
        )
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
