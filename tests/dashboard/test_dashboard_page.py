"""The dashboard in a browser: what a person sees there is what the ledger and the CLI have."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest
from playwright.async_api import FloatRect, expect

from sessionbridge.allowances import Allowance, Budget, ClientRules
from sessionbridge.model import Message, SessionKey
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.engine import insert
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.bridge_fixtures import CLIENT_HELD
from tests.support.dashboard_browser import (
    IN_A_BROWSER,
    Browser,
    Seen,
    browser,
    looking_at,
    seen,
    talked,
)
from tests.support.dashboard_fixtures import (
    BUSY,
    Looking,
    Watched,
    cost_rows,
    known_client,
    looking,
    mixed_turns,
    watched,
)
from tests.support.scripted_dispatcher import Conversation
from tests.support.spoken import assistant, image, user
from tests.support.tool_rounds import found, use

__all__ = ["browser", "looking", "seen", "talked", "watched"]

pytestmark = IN_A_BROWSER

TOTALS = {
    "turns": "turns",
    "input": "input_tokens",
    "output": "output_tokens",
    "cache-write": "cache_creation_input_tokens",
    "cache-read": "cache_read_input_tokens",
    "cost": "cost_usd",
}
TIMES = ("tokens", "cost", "cache", "first-token")
COUNTS = ("processes", "plans", "reasons", "models", "platforms")


async def test_the_totals_shown_are_those_of_the_cost_command(watched: Watched, seen: Seen) -> None:
    watched.commit(*mixed_turns(time.time()))
    await seen.open()
    for span in ("24h", "30d", "all", "7d"):
        await seen.tab.locator(f"input[value='{span}']").check()
        rows = cost_rows(watched.home, span)
        turns = seen.tab.get_by_test_id("total-turns")
        await expect(turns).to_have_text(str(sum(row["turns"] for row in rows)))
        for shown, name in TOTALS.items():
            assert await seen.total(shown) == sum(row[name] or 0 for row in rows), (span, shown)
        assert await seen.total("starts-avoided") == 2
        fresh = sum(row["input_tokens"] + row["cache_creation_input_tokens"] for row in rows)
        read = sum(row["cache_read_input_tokens"] for row in rows)
        assert await seen.total("cache-hit") == pytest.approx(read / (fresh + read))


async def test_figures_are_written_as_people_write_them(watched: Watched, seen: Seen) -> None:
    watched.commit({"cost_usd": 1234.5}, {"cost_usd": None})
    await seen.open()
    cost = seen.tab.get_by_test_id("total-cost")
    await expect(cost).to_have_text("$1,234.50")
    await expect(cost.locator("..")).to_contain_text("1 without a price")
    await expect(seen.tab.get_by_test_id("total-cache-hit")).to_have_text("50%")


async def test_what_is_not_known_is_not_nothing(watched: Watched, seen: Seen) -> None:
    watched.commit({"cost_usd": None})
    await seen.open()
    row = seen.tab.get_by_test_id("session")
    await expect(row.get_by_role("cell", name="?", exact=True)).to_be_visible()
    await row.get_by_role("link").click()
    note = seen.tab.locator("#conversation-note")
    await expect(note).to_contain_text("1 turn, ?.")
    watched.commit({"cost_usd": 1.5})
    await seen.next_look()
    await expect(note).to_contain_text("2 turns, $1.50 + ?.")
    await seen.tab.go_back()
    await expect(row.get_by_role("cell", name="$1.50 + ?", exact=True)).to_be_visible()


async def test_every_plot_is_drawn(watched: Watched, seen: Seen) -> None:
    watched.commit(*mixed_turns(time.time()))
    await seen.open()
    for name in (*TIMES, *COUNTS):
        plot = seen.tab.locator(f"#plot-{name}")
        await expect(plot.locator("svg.main-svg").first).to_be_visible()
        assert await plot.locator(".point, .points path").count() > 0, name
        assert await plot.get_attribute("aria-label"), name
    bars = seen.tab.locator("#plot-tokens .bars")
    assert await bars.count() == 4
    counts = seen.tab.locator("#plot-plans")
    for word in ("fresh", "resume", "fork", "passthrough"):
        await expect(counts).to_contain_text(word)


async def test_it_follows_the_systems_light_and_dark(watched: Watched, seen: Seen) -> None:
    watched.commit({})
    await seen.tab.emulate_media(color_scheme="light")
    await seen.open()
    label = seen.tab.locator("#plot-cost .xtick text").first
    light = await label.evaluate("text => getComputedStyle(text).fill")
    paper = await seen.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    await seen.tab.emulate_media(color_scheme="dark")
    await expect(label).not_to_have_css("fill", light)
    assert await seen.tab.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    await seen.tab.emulate_media(color_scheme="light")
    await expect(label).to_have_css("fill", light)


async def test_it_updates_itself(watched: Watched, seen: Seen) -> None:
    watched.commit({})
    await seen.open()
    await expect(seen.tab.get_by_test_id("total-turns")).to_have_text("1")
    await expect(seen.tab.get_by_test_id("live-turn")).to_have_count(0)
    watched.commit({})
    watched.state = BUSY
    await seen.next_look()
    await expect(seen.tab.get_by_test_id("total-turns")).to_have_text("2")
    await expect(seen.tab.get_by_test_id("live-turn")).to_contain_text("team:7")
    await expect(seen.tab.get_by_test_id("total-waiting")).to_have_text("3")
    await expect(seen.tab.get_by_test_id("total-processes")).to_have_text("5")


async def test_nothing_is_asked_while_nobody_looks(watched: Watched, seen: Seen) -> None:
    await seen.open()
    show = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: "
    show += "true}); document.dispatchEvent(new Event('visibilitychange')); }"
    await seen.tab.evaluate(show, True)
    before = seen.overviews()
    await seen.tab.clock.run_for(60_000)
    assert seen.overviews() == before
    async with seen.tab.expect_response("**/api/overview*"):
        await seen.tab.evaluate(show, False)
    async with seen.tab.expect_response("**/api/overview*"):
        await seen.next_look()


async def test_a_lost_connection_is_told_and_found_again(
    watched: Watched, browser: Browser
) -> None:
    async with looking_at(watched.dashboard, browser) as seen:
        await seen.open()
        await seen.tab.route("**/api/**", lambda route: route.abort())
        await seen.next_look()
        connection = seen.tab.get_by_test_id("connection")
        await expect(connection).to_contain_text("Connection lost")
        await seen.tab.unroute("**/api/**")
        await seen.next_look()
        await expect(connection).to_contain_text("Updated")


async def test_an_error_is_shown_as_its_sentence(watched: Watched, browser: Browser) -> None:
    os.mkdir(watched.thread.place.name)
    async with looking_at(watched.dashboard, browser) as seen:
        await seen.tab.goto(seen.url)
        await expect(seen.tab.get_by_test_id("trouble")).to_contain_text("cannot be used")


async def test_an_empty_ledger_says_how_to_begin(watched: Watched, seen: Seen) -> None:
    await seen.open()
    empty = seen.tab.get_by_test_id("empty")
    await expect(empty).to_contain_text("X-SessionBridge-Session")
    await expect(seen.tab.locator("#plots")).to_be_hidden()
    watched.commit({})
    await seen.next_look()
    await expect(empty).to_be_hidden()
    await expect(seen.tab.locator("#plot-tokens svg.main-svg").first).to_be_visible()


async def test_it_can_be_read_on_a_phone(watched: Watched, seen: Seen) -> None:
    await seen.tab.set_viewport_size({"width": 360, "height": 740})
    watched.commit(*mixed_turns(time.time()))
    watched.state = BUSY
    ann = "ann-whose-name-is-as-long-as-names-of-clients-may-be-at-the-most"
    watched.commit({"client": ann})
    with closing(SessionStore.open(watched.home / DATABASE_NAME)) as store:
        known_client(store, ann, ClientRules(budgets=(Budget(per="day", usd=5),)))
        now = time.time()
        store.keep_plan_windows([PlanWindow("work", "5h", "allowed", 0.6, now + 9000, now)])
    await seen.open()
    await expect(seen.tab.get_by_test_id("session")).to_have_count(2)
    await expect(seen.tab.get_by_test_id("meter")).to_have_count(2)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await seen.tab.evaluate(wide) == 0


async def test_clients_are_named_where_there_are_any(watched: Watched, seen: Seen) -> None:
    watched.commit({})
    await seen.open()
    heading = seen.tab.get_by_role("columnheader", name="Client", exact=True)
    await expect(seen.tab.get_by_test_id("session")).to_have_count(1)
    await expect(heading).to_have_count(0)
    watched.commit({"key": SessionKey("ann:goclaw", "her chat", "claude"), "client": "ann"})
    await seen.next_look()
    await expect(heading).to_have_count(1)
    anns = seen.tab.get_by_role("row").filter(has_text="her chat")
    await expect(anns.get_by_role("cell", name="ann", exact=True)).to_be_visible()
    await anns.get_by_role("link").click()
    await expect(seen.tab.get_by_role("heading", name="ann, goclaw: her chat")).to_be_visible()
    await expect(seen.tab.get_by_test_id("turn")).to_have_count(1)


async def test_who_used_what_is_shown_where_there_are_several(watched: Watched, seen: Seen) -> None:
    watched.commit({})
    await seen.open()
    await expect(seen.tab.locator("#plot-plans svg.main-svg").first).to_be_visible()
    for name in ("plan-windows", "budgets", "clients", "providers", "plot-clients"):
        await expect(seen.tab.locator(f"#{name}")).to_be_hidden()
    work = SessionKey("ann:goclaw", "u", "work")
    watched.commit({"client": "ann", "key": work, "cost_usd": 2.5}, {"cost_usd": None})
    now = time.time()
    watched.providers["work"] = Allowance(budgets=(Budget(per="month", usd=9),))
    with closing(SessionStore.open(watched.home / DATABASE_NAME)) as store:
        budgets = (Budget(per="day", usd=5), Budget(per="week", tokens=1000))
        known_client(store, "ann", ClientRules(budgets=budgets))
        spent = {"cost_usd": 4.5, "tokens": 1200, "started_at": now}
        row = {"client": "ann", "provider": "work", **spent}
        store.engine.write(lambda db: insert(db, "spending", row))
        five = PlanWindow("work", "5h", "allowed", 0.6, now + 3 * 3600, now)
        store.keep_plan_windows([five, PlanWindow("claude", "7d", "allowed", 0.9, now - 60, now)])
    await seen.next_look()
    spenders = seen.tab.get_by_test_id("spender")
    await expect(spenders).to_have_count(4)
    assert await spenders.all_inner_texts() == [
        "ann\t1\t80\t20\t50%\t$2.50",
        "without a token\t2\t160\t40\t50%\t$0.25 + ?",
        "work\t1\t80\t20\t50%\t$2.50",
        "claude\t2\t160\t40\t50%\t$0.25 + ?",
    ]
    meters = seen.tab.get_by_test_id("meter")
    told = [(await meters.nth(place).inner_text()).split("\n") for place in range(5)]
    assert [lines[:2] for lines in told] == [
        ["claude, 7d", "not known"],
        ["work, 5h", "60%, 30% an hour"],
        ["client ann, a week", "1,200 of 1,000 tokens"],
        ["client ann, a day", "$4.50 of $5.00"],
        ["provider work, a month", "$4.50 of $9.00"],
    ]
    assert "at this rate full" in told[1][2] and "has reset" in told[0][2]
    bars = seen.tab.get_by_role("meter")
    await expect(bars.nth(1)).to_have_attribute("aria-valuenow", "0.6")
    widths = [box["width"] for place in range(5) if (box := await fill(seen, place))]
    track = await bars.first.bounding_box()
    assert track is not None
    shares = [width / track["width"] for width in widths]
    assert shares == pytest.approx([0, 0.6, 1, 0.9, 0.5], abs=0.01)
    for plot in ("clients", "providers"):
        await expect(seen.tab.locator(f"#plot-{plot} svg.main-svg").first).to_be_visible()
    await expect(seen.tab.locator("#plot-clients")).to_contain_text("without a token")


async def fill(seen: Seen, place: int) -> FloatRect | None:
    return await seen.tab.locator(".meter .fill").nth(place).bounding_box()


TRAP = '<img src="x" onerror="document.title = 1">'


async def test_names_of_others_never_become_markup(watched: Watched, seen: Seen) -> None:
    names = [TRAP, f"<b>{TRAP}</b>"]
    watched.commit(
        *({"key": SessionKey(name, name, "claude"), "model": name, "plan": name} for name in names)
    )
    await seen.open()
    await expect(seen.tab.get_by_test_id("session").first).to_contain_text(TRAP)
    await expect(seen.tab.locator("#plot-models")).to_contain_text("<img")
    assert await seen.tab.locator("img, #plots b").count() == 0
    assert await seen.tab.title() == "Session bridge"


def looks(seen: Conversation) -> str | Message:
    asked = seen[-1].blocks[-1].get("text")
    return assistant("I look", use("toolu_1", at="it")) if asked == "Look" else f"Well, {TRAP}"


async def talk(house: Looking) -> None:
    house.dispatcher.answer = looks
    await house.send(user("Hello", image()))
    told = [user("Hello", image()), assistant(f"Well, {TRAP}")]
    await house.send(*told, user("Look"))
    calls = looks((user("Look"),))
    assert isinstance(calls, Message)
    await house.send(*told, user("Look"), calls, user(found("toolu_1", "It is here")))
    await house.send(*told, user("Turn away"))


async def test_a_session_opens_as_one_conversation(looking: Looking, talked: Seen) -> None:
    await talk(looking)
    await talked.open()
    link = talked.tab.get_by_role("link", name=CLIENT_HELD.external_id)
    await link.focus()
    await talked.tab.keyboard.press("Enter")
    turns = talked.tab.get_by_test_id("turn")
    await expect(turns).to_have_count(4)
    await expect(talked.tab.get_by_role("heading", name="tests: chat-1")).to_be_focused()
    await expect(turns.first).to_contain_text("Hello")
    await expect(turns.first).to_contain_text("Image (image/png")
    await expect(turns.first).to_contain_text(TRAP)
    call = talked.tab.get_by_test_id("call")
    await expect(call).to_contain_text("Tool call: look")
    await expect(call.get_by_test_id("result")).to_contain_text("It is here")
    branch = talked.tab.get_by_test_id("branch")
    await expect(branch).to_have_count(1)
    await expect(branch).to_contain_text("Turn away")
    assert await talked.tab.locator("img").count() == 0

    await talked.tab.go_back()
    await expect(link).to_be_visible()
    await expect(talked.tab.get_by_test_id("conversation")).to_be_hidden()


async def test_a_conversation_has_an_address_and_goes_on_by_itself(
    looking: Looking, talked: Seen
) -> None:
    await looking.ask("Hello")
    await talked.open("#conversation?platform=tests&id=chat-1&provider=claude")
    turns = talked.tab.get_by_test_id("turn")
    await expect(turns).to_have_count(1)
    first = await looking.ask([("user", "Hello"), ("assistant", "1: Hello"), ("user", "More")])
    await talked.next_look()
    await expect(turns).to_have_count(2)
    await expect(turns.last).to_contain_text("3: More")
    looking.dispatcher.lose(first.headers["x-sessionbridge-session"])
    await talked.tab.reload()
    await expect(turns.first).to_contain_text("The transcript is gone.")
    await expect(turns.first).to_contain_text("10 in, 20 out")
