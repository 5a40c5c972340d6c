"""The windows of a login's plan: kept as each turn tells of them, and a share of one that is left
to others."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.errors import ApiFailed
from sessionbridge.model import Attempt
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.plan_windows import PlanWindows
from tests.support.bridge_fixtures import House, ask, body, bridge, house, housed
from tests.support.claude_cli import until

__all__ = ["house"]

ANN = Attempt(client="ann")

UNIFIED = "anthropic-ratelimit-unified-"


def told(window: str, used: float, resets_in: float, status: str = "allowed") -> dict[str, str]:
    reset = int(time.time() + resets_in)
    fields = {"status": status, "reset": str(reset), "utilization": str(used)}
    return {f"{UNIFIED}{window}-{name}": value for name, value in fields.items()}


def limits(*windows: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(field for window in windows for field in window.items())


async def known(thread: StoreThread) -> dict[str, PlanWindow]:
    return {window.name: window for window in await thread.plan_windows()}


async def until_known(thread: StoreThread, name: str, used: float) -> None:
    """It is written beside the turn, by a thread that sets no event."""
    async with asyncio.timeout(30):
        while used != await used_of(thread, name):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def used_of(thread: StoreThread, name: str) -> float | None:
    window = (await known(thread)).get(name)
    return window.used if window else None


async def test_each_turn_keeps_what_the_cli_tells(house: House) -> None:
    house.dispatcher.limits = limits(told("5h", 0.25, 3600), told("7d", 0.5, 86_400))
    await house.ask("one")
    await until_known(house.thread, "5h", 0.25)
    windows = await known(house.thread)
    five, week = windows["5h"], windows["7d"]
    assert (five.provider, five.status, week.used) == (DEFAULT, "allowed", 0.5)
    assert five.resets_at == pytest.approx(time.time() + 3600, abs=30)
    assert time.time() - five.told_at < 30
    error = ApiFailed(429, "The limit.", headers=limits(told("5h", 1.01, 3600, "rejected")))
    house.dispatcher.fails = error
    assert (await house.ask("two")).status == 429
    await until_known(house.thread, "5h", 1.01)
    windows = await known(house.thread)
    assert (windows["5h"].status, windows["7d"].used) == ("rejected", 0.5)


async def test_who_uses_a_key_has_none(house: House) -> None:
    house.change(plan_share=1)
    for text in ("one", "two"):
        assert (await house.ask(text)).status == 200
    assert await known(house.thread) == {}


async def test_only_what_has_changed_is_written(house: House) -> None:
    windows, kept = PlanWindows(house.thread, DEFAULT, 100), house.thread
    headers = limits(told("5h", 0.25, 3600))
    windows.hear(headers)
    await until_known(kept, "5h", 0.25)
    await kept.keep_plan_windows([PlanWindow(DEFAULT, "5h", "as it was", 0.25, None, 0.0)])
    windows.hear(headers)
    windows.hear(limits(told("7d", 0.5, 3600)))  # is written after the other would have been
    await until_known(kept, "7d", 0.5)
    assert (await known(kept))["5h"].status == "as it was"


async def test_at_its_share_of_a_window_new_turns_are_refused(house: House) -> None:
    house.change(plan_share=80)
    house.dispatcher.limits = limits(told("5h", 0.79, 3600), told("7d", 0.5, 86_400))
    assert (await house.ask("one")).status == 200
    house.dispatcher.limits = limits(told("5h", 0.8, 3600))
    assert (await house.ask("two")).status == 200  # and at once after it:
    refused = await house.ask("three", stream=True)
    assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
    for words in ("80% of the 5h window of claude's plan", "sessionbridge_plan_share=80"):
        assert words in refused.json["error"]["message"]
    assert 3500 < int(refused.headers["retry-after"]) <= 3601
    assert refused.headers["x-should-retry"] == "false"
    assert len(house.dispatcher.jobs) == 2 and house.turns() == 2
    request = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}
    chat = await ask(house.bridge, json.dumps(request).encode(), None, api="chat")
    assert (chat.status, chat.json["error"]["code"]) == (429, "rate_limit_exceeded")


async def test_other_proxies_and_those_that_start_later_know_it(house: House) -> None:
    house.dispatcher.limits = limits(told("5h", 0.9, 3600), told("7d", 0.95, 86_400))
    await house.ask("one")
    await until_known(house.thread, "5h", 0.9)
    async with housed(house.settings.home) as other:
        assert (await other.ask("by default nothing is refused")).status == 200
        other.change(plan_share=90)
        refused = await other.ask("two")
        assert refused.status == 429
        # Of two windows the one that resets last.
        assert 86_000 < int(refused.headers["retry-after"]) <= 86_401
        other.change(plan_share=96)
        assert (await other.ask("three")).status == 200


async def test_a_window_that_has_reset_refuses_nothing(house: House) -> None:
    over = PlanWindow(DEFAULT, "5h", "allowed", 0.9, time.time() - 1, time.time() - 60)
    ever = PlanWindow(DEFAULT, "7d", "allowed", 0.9, None, time.time())
    others = PlanWindow("work", "5h", "allowed", 0.9, time.time() + 3600, time.time())
    await house.thread.keep_plan_windows([over, ever, others])
    house.change(plan_share=50)
    assert (await house.ask("one")).status == 200


@pytest.mark.parametrize("ago", [1000, -1000], ids=["long ago", "by a clock that was ahead"])
@pytest.mark.parametrize(("used", "next_ones"), [(0.9, [429, 429]), (0.2, [200, 200])])
async def test_one_turn_may_tell_anew_what_was_told_long_ago(
    house: House, ago: float, used: float, next_ones: list[int]
) -> None:
    """The plan was raised, or the window reset: those that are refused would never find out."""
    resets_at, told_at = time.time() + 3600, time.time() - ago
    full = PlanWindow(DEFAULT, "5h", "allowed", 0.9, resets_at, told_at)
    await house.thread.keep_plan_windows([full])
    house.change(plan_share=80)
    house.dispatcher.limits = limits(told("5h", used, 3600))
    assert (await house.ask("one")).status == 200
    assert [(await house.ask(text)).status for text in ("two", "three")] == next_ones


async def test_one_that_tells_nothing_was_that_one_too(house: House) -> None:
    resets_at = time.time() + 3600
    full = PlanWindow(DEFAULT, "5h", "allowed", 0.9, resets_at, time.time() - 1000)
    await house.thread.keep_plan_windows([full])
    house.change(plan_share=80)
    assert [(await house.ask(text)).status for text in ("one", "two")] == [200, 429]


async def test_one_without_room_in_its_budget_is_not_that_one(house: House) -> None:
    """A client that is over it, and tries again and again, would be it each time."""
    full = PlanWindow(DEFAULT, "5h", "allowed", 0.9, time.time() + 3600, time.time() - 1000)
    await house.thread.keep_plan_windows([full])
    house.change(plan_share=80)
    over = ClientRules(budgets=(Budget(per="day", usd=0),))
    assert (await ask(house.bridge, body("one"), attempt=ANN, rules=over)).status == 429
    assert (await house.ask("two")).status == 200
    refused = ClientRules(turns_a_minute=1)
    for _ in range(2):  # and one that is refused counts for nothing
        answer = await ask(house.bridge, body("three"), attempt=ANN, rules=refused)
        assert "sessionbridge_plan_share" in answer.json["error"]["message"]


async def test_one_that_fails_before_anybody_is_asked_is_not_that_one(house: House) -> None:
    full = PlanWindow(DEFAULT, "5h", "allowed", 0.9, time.time() + 3600, time.time() - 1000)
    await house.thread.keep_plan_windows([full])
    house.change(plan_share=80)
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
    alone = json.dumps({"model": "sonnet", "messages": [{"role": "user", "content": [result]}]})
    assert (await ask(house.bridge, alone.encode())).status == 400
    assert (await house.ask("one")).status == 200
    assert (await house.ask("two")).status == 429


async def test_what_another_proxy_was_told_since_counts(house: House) -> None:
    house.change(plan_share=80)
    house.dispatcher.limits = limits(told("5h", 0.9, 3600))
    await house.ask("one")
    await until_known(house.thread, "5h", 0.9)
    assert (await house.ask("two")).status == 429
    raised = PlanWindow(DEFAULT, "5h", "allowed", 0.2, time.time() + 3600, time.time())
    await house.thread.keep_plan_windows([raised])
    assert (await house.ask("three")).status == 200


async def test_what_a_clock_that_is_ahead_has_told_is_not_the_newest(house: House) -> None:
    """As long as what a turn was told since then is not written yet, or another proxy writes it."""
    house.change(plan_share=80)
    house.dispatcher.limits = limits(told("5h", 0.2, 3600))
    await house.ask("one")
    await until_known(house.thread, "5h", 0.2)
    ahead = PlanWindow(DEFAULT, "5h", "allowed", 0.9, time.time() + 3600, time.time() + 300)
    await house.thread.keep_plan_windows([ahead])
    assert (await house.ask("two")).status == 200


async def test_a_turn_under_way_finishes(house: House) -> None:
    house.change(plan_share=80)
    house.dispatcher.gate = asyncio.Event()
    under_way = asyncio.create_task(house.ask("one"))
    await house.dispatcher.waiting.wait()
    full = PlanWindow(DEFAULT, "5h", "allowed", 0.9, time.time() + 3600, time.time())
    await house.thread.keep_plan_windows([full])
    assert (await house.ask("two")).status == 429
    house.dispatcher.gate.set()
    assert (await under_way).status == 200


async def test_a_turn_that_waited_has_not_begun(house: House) -> None:
    house.change(plan_share=80, concurrency=1)
    house.dispatcher.gate = asyncio.Event()
    house.dispatcher.limits = limits(told("5h", 0.9, 3600))
    first = asyncio.create_task(house.ask("one"))
    await house.dispatcher.waiting.wait()
    second = asyncio.create_task(house.ask("two"))
    await until(lambda: house.bridge._admission.waiting_now == 1)
    house.dispatcher.gate.set()
    assert [answer.status for answer in await asyncio.gather(first, second)] == [200, 429]


async def test_without_a_store_the_process_knows_what_it_was_told(tmp_path: Path) -> None:
    async with housed(tmp_path) as made:
        settings = made.settings.model_copy(update={"plan_share": 80})
        alone = bridge(settings, None, made.dispatcher)
        made.dispatcher.limits = limits(told("5h", 0.9, 3600))
        request = json.dumps(
            {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        ).encode()
        assert (await ask(alone, request)).status == 200
        assert (await ask(alone, request)).status == 429
