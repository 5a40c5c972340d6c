"""The content view shows any LLM flow as a person reads it, and comes up by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import contentviews
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from sessionbridge.apis import SHAPES
from sessionbridge.model import TextDelta
from sessionbridge.proxy import flow_notes
from sessionbridge.proxy.content_view import SessionBridgeView
from sessionbridge.proxy.page_text import answer_page, request_page
from sessionbridge.proxy.reasons import PLANS, REASONS
from sessionbridge.traffic.reading import read
from tests.support.bridge_fixtures import Answer, House, body, house
from tests.support.content_view_fixtures import (
    answer_text,
    flow_of,
    messages_body,
    registered,
    request_text,
    row,
    sections,
)
from tests.support.documents import DOCS
from tests.support.spoken import user
from tests.support.traffic_fixtures import ASKED, confused, encoded

__all__ = ["house", "registered"]


def bridged(asked: bytes, answer: Answer) -> HTTPFlow:
    flow = flow_of(answer.exchange.api, asked, answer.body, answer.status)
    flow_notes.annotate(flow, answer.exchange)
    return flow


TALK = [("user", "one"), ("assistant", "1: one"), ("user", "two")]


async def test_a_turn_that_goes_on_shows_what_is_new(house: House) -> None:
    await house.ask("one", system="Be brief.")
    answer = await house.ask(TALK, system="Be brief.")
    outcome = answer.exchange.outcome
    flow = bridged(body(TALK, system="Be brief."), answer)
    page = request_text(flow)
    assert row(page, "Asked by") == "tests, chat-1"
    assert row(page, "Plan") == f"resume, continued: {REASONS['continued']}"
    assert outcome.plan is not None and outcome.plan.base is not None and outcome.session
    entry = outcome.plan.base.entry_uuid
    assert row(page, "Session") == f"{outcome.session}, continued at entry {entry}"
    assert row(page, "Command") == outcome.command
    assert "1 new message sent to Claude" in page
    assert sections(page) == {
        "user": "two",
        "2 earlier messages that the session already holds": (
            "1  user       one\n    2  assistant  1: one"
        ),
        "system prompt, 9 characters": "Be brief.",
    }
    page = answer_text(flow)
    assert row(page, "Plan") == f"resume, continued: {REASONS['continued']}"
    assert (row(page, "Cost"), row(page, "Ended")) == ("$0.2500", "end_turn")
    assert "10           40            30       20     100        50 %" in page
    assert sections(page) == {"assistant": "3: two"}


async def test_an_import_shows_all_that_was_fed(house: House) -> None:
    answer = await house.ask(TALK)
    page = request_text(bridged(body(TALK), answer))
    assert "3 new messages sent to Claude" in page and "earlier" not in page
    assert sections(page) == {"user": "one\n\ntwo", "assistant": "1: one"}
    assert row(page, "Session") == answer.exchange.outcome.session


async def test_a_request_without_a_conversation(house: House) -> None:
    answer = await house.ask("one", origin=None)
    page = request_text(bridged(body("one"), answer))
    assert row(page, "Asked by") == "no conversation named"
    assert row(page, "Plan") == f"fresh, stateless: {REASONS['stateless']}"


async def test_a_refusal_is_told_plainly(house: House) -> None:
    asked = body([("assistant", "no question")])
    answer = await house.ask([("assistant", "no question")])
    flow = bridged(asked, answer)
    assert "sent to Claude" not in request_text(flow)
    page = answer_text(flow)
    error = row(page, "Error")
    assert error is not None and error.startswith("400 BadRequest, invalid_request_error: ")
    assert row(page, "Ended") is None


@pytest.mark.parametrize("api", SHAPES)
@pytest.mark.parametrize("stream", [True, False])
def test_passing_traffic_is_read_the_same_way(api: str, stream: bool) -> None:
    flow = flow_of(api, json.dumps(ASKED[api]).encode(), encoded(api, stream=stream))
    page = request_text(flow)
    assert sections(page) == {"user": "Hi", "2 tools offered": "look, other"}
    assert row(page, "Asked by") is None and row(page, "Plan") is None
    page = answer_text(flow)
    assert row(page, "Time") == "first byte 0.4 s, whole answer 2.5 s"
    shown = sections(page)["assistant"]
    assert ("(thinking)\n> hm, well" in shown) is (api != "chat")
    assert '-> call look (toolu_1)\n    {\n      "at": "é"\n    }' in shown
    assert ("cache hit" in page and "50 %" in page) is (api != "ollama")  # which tells of no cache


def test_watched_passing_traffic_tells_its_estimate() -> None:
    flow = flow_of("chat", json.dumps(ASKED["chat"]).encode(), encoded("chat", stream=True))
    notes = {"api": "chat", "plan": "passthrough", "reason": None, "usage": None, "cost_usd": 0.5}
    flow.metadata[flow_notes.METADATA] = notes
    page = request_text(flow)
    assert row(page, "Plan") == f"passthrough: {PLANS['passthrough']}"
    assert row(page, "Asked by") is None and sections(page)["user"] == "Hi"
    assert row(answer_text(flow), "Cost") == "$0.5000 by list price"


def test_an_answer_that_is_none_is_shown_as_it_came() -> None:
    flow = flow_of("chat", json.dumps(ASKED["chat"]).encode(), b"<html>Bad Gateway", 502)
    page = answer_text(flow)
    assert row(page, "Error") == "502" and page.endswith("\n<html>Bad Gateway\n")
    flow = flow_of("chat", json.dumps(ASKED["chat"]).encode(), b"")
    assert row(answer_text(flow), "Ended") == "not at all: the answer is cut off"


def test_five_megabytes_are_shown_to_the_last_letter() -> None:
    letters = [TextDelta(0, f"{number}\n") for number in range(5_000_000 // 128)]
    stream = encoded("messages", letters, stream=True)
    assert len(stream) > 5_000_000
    flow = flow_of("messages", json.dumps(ASKED["messages"]).encode(), stream)
    shown = sections(answer_text(flow))["assistant"]
    assert shown == "".join(delta.text for delta in letters).strip()
    page = request_text(flow_of("messages", messages_body([user(shown)])))
    assert sections(page) == {"user": shown}
    assert page.isascii()  # mitmproxy is slow with what is not


def test_what_is_no_http_flow_is_left_to_other_views() -> None:
    view, metadata = SessionBridgeView(), contentviews.Metadata(flow=tflow.ttcpflow())
    assert view.render_priority(b"data", metadata) < 0
    with pytest.raises(ValueError, match="no request to a model"):
        view.prettify(b"data", metadata)


def test_an_answer_that_has_not_ended_has_no_time() -> None:
    flow = flow_of("chat", json.dumps(ASKED["chat"]).encode(), encoded("chat", stream=True)[:900])
    assert flow.response is not None
    flow.response.timestamp_end = None
    page = answer_text(flow)
    assert (row(page, "Time"), row(page, "Ended")) == (None, "not at all: the answer is cut off")


def test_half_a_character_can_be_printed() -> None:
    half = chr(0xD83D)
    flow = flow_of("messages", messages_body([user(f"a{half}b")]))
    assert sections(request_text(flow)) == {"user": "a?b"}


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"path": "/v1/models"},
        {"path": "/survey/responses", "content": b'{"answers": [1]}'},
        {"content_type": "text/plain"},
    ],
)
def test_other_flows_are_left_to_other_views(change: dict[str, Any]) -> None:
    flow = flow_of("responses", json.dumps(ASKED["responses"]).encode(), b"{}")
    if content_type := change.pop("content_type", None):
        flow.request.headers["content-type"] = content_type
    for name, value in change.items():
        setattr(flow.request, name, value)
    assert contentviews.prettify_message(flow.request, flow).view_name != "Session bridge"
    chosen = contentviews.prettify_message(flow.request, flow, "session bridge")
    assert chosen.syntax_highlight == "error"


def test_other_views_stay_a_click_away() -> None:
    flow = flow_of("responses", json.dumps(ASKED["responses"]).encode())
    for name in ("raw", "json"):
        assert '"model"' in contentviews.prettify_message(flow.request, flow, name).text
    assert contentviews.registry.available_views().count("session bridge") == 1


def test_every_reason_the_documentation_names_is_explained() -> None:
    page = (DOCS / "what-the-model-sees.md").read_text("utf-8")
    table = page.partition("| when you |")[2].partition("\n\n")[0]
    cells = [line.rsplit("|", 2)[1] for line in table.splitlines() if line.count("|") >= 3]
    named = {word for cell in cells for word in re.findall(r"`(\w+)`", cell)} - set(PLANS)
    assert {"continued", "mapper_off"} <= named <= set(REASONS)


def test_every_reason_in_the_code_is_explained() -> None:
    package = Path(flow_notes.__file__).parent.parent
    rooms = [*package.rglob("sessions/**/*.py"), *package.glob("turns/*.py")]
    source = "\n".join(file.read_text() for file in rooms)
    given = set(re.findall(r'Plan\(\s*"\w+",\s*"(\w+)"', source))
    given |= set(re.findall(r'(?:plan_unknown|Fleeting)\([^"\n]*"(\w+)"', source))
    given |= set(re.findall(r'reason(?: = |=)"(\w+)"', source))
    assert {"first_turn", "started_over", "compacted", "stateless"} <= given <= set(REASONS)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*SHAPES]), confused, st.lists(confused, max_size=4), confused)
def test_any_reading_can_be_shown(
    api: str, asked: Any, answered: list[Any], notes: dict[str, Any]
) -> None:
    stream = b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in answered)
    reading = read(api, json.dumps(asked).encode(), stream, "")
    known = notes if isinstance(notes, dict) else {"fed": 1, "usage": notes}
    assert request_page(reading, known).startswith("Request")
    assert answer_page(reading, known, 200).startswith("Answer")
