"""Turns as an OTLP collector hears of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes

from sessionbridge.errors import ApiFailed
from sessionbridge.model import Attempt, Message, Origin, Spent, TurnRequest, Usage
from sessionbridge.telemetry.recorder import Recorder
from sessionbridge.telemetry.telemetry import Telemetry
from sessionbridge.turns.exchange import Exchange
from tests.support.bridge_fixtures import CLIENT_HELD, House, body, house
from tests.support.documents import DOCS
from tests.support.otlp_collector import Collector, collector, values
from tests.support.proxy import environment
from tests.support.scripted_dispatcher import ScriptedDispatcher
from tests.turns.test_fallback import Place

__all__ = ["house"]

SECRET = "the-secret-of-the-prompt"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
TOKENS = gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE
DURATION = gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION
FIRST_CHUNK = gen_ai_metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK


@pytest.fixture
def otlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


async def told(house: House, exchange: Exchange, request: bytes) -> None:
    """The turn, and telemetry of it as far as the collector."""
    telemetry = Telemetry()
    telemetry.start()
    async with aclosing(house.bridge.handle(exchange, request)) as parts:
        async for _ in parts:
            pass
    telemetry.ended(exchange)
    telemetry.close()


def of_ann(**changes: Any) -> Exchange:
    exchange = Exchange("messages", CLIENT_HELD, Attempt(client="ann"), trace=TRACED)
    return replace(exchange, **changes)


async def test_a_turn_is_a_span_in_the_trace_of_its_caller(house: House, otlp: Collector) -> None:
    exchange = of_ann()
    await told(house, exchange, body(SECRET, stream=True, system=SECRET))
    (turn,) = otlp.turns
    assert (turn.name, turn.trace_id.hex(), turn.parent_span_id.hex(), turn.trace_state) == (
        "chat claude-x",
        TRACE,
        CALLER,
        "vendor=1",
    )
    assert turn.status.code == Status.STATUS_CODE_UNSET
    outcome = exchange.outcome
    assert values(turn.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.conversation.id": "chat-1",
        "gen_ai.request.model": "claude-x",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "claude-scripted-1",
        "gen_ai.response.id": outcome.response_id,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.response.time_to_first_chunk": outcome.ttft_ms / 1000,
        "gen_ai.usage.input_tokens": 10 + 30 + 40,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_creation.input_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "sessionbridge.api": "messages",
        "sessionbridge.client": "ann",
        "sessionbridge.cost_usd": 0.25,
        "sessionbridge.plan": "fresh",
        "sessionbridge.platform": "tests",
        "sessionbridge.process": "new",
        "sessionbridge.provider": "claude",
        "sessionbridge.reason": "first_turn",
        "sessionbridge.session": outcome.session,
        "sessionbridge.turn": 1,
    }


async def test_the_steps_of_the_walk_are_within_it_one_after_the_other(
    house: House, otlp: Collector
) -> None:
    await told(house, of_ann(), body("hi"))
    (turn,) = otlp.turns
    steps = otlp.steps(turn)
    assert [step.name for step in steps] == [
        "parse",
        "plan",
        "dispatch",
        "answer",
        "commit",
        "close",
    ]
    assert len(otlp.spans) == 1 + len(steps)
    for before, after in pairwise(steps):
        assert before.end_time_unix_nano == after.start_time_unix_nano
    assert steps[-1].end_time_unix_nano == turn.end_time_unix_nano
    assert {(step.kind, step.trace_id) for step in steps} == {
        (Span.SPAN_KIND_INTERNAL, turn.trace_id)
    }


FALLS_BACK = """
[providers.claude]
fallback = ["cloud", "key"]
[providers.cloud]
env = { CLAUDE_CODE_USE_BEDROCK = "1" }
[providers.key]
"""
VENDORS = {it.value for it in gen_ai_attributes.GenAiProviderNameValues}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path, config=FALLS_BACK)
    yield made
    made.store.close()


async def moved(place: Place) -> None:
    telemetry = Telemetry()
    telemetry.start()
    telemetry.ended((await place.ask("hi")).exchange)
    telemetry.close()


def gives_up(dispatcher: ScriptedDispatcher, tokens: int) -> None:
    dispatcher.breaks = ApiFailed(529, "overloaded")
    dispatcher.spends = Spent("claude-scripted-1", Usage(tokens, 1), 0.5)


async def test_what_another_provider_could_not_answer_is_a_span_within_and_its_own(
    place: Place, otlp: Collector
) -> None:
    gives_up(place.dispatchers["claude"], 7)
    await moved(place)
    attempt, turn = otlp.turns
    assert (attempt.parent_span_id, turn.parent_span_id) == (turn.span_id, b"")
    assert turn.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= otlp.steps(turn)[0].start_time_unix_nano
    assert attempt.status.message == "529 ApiFailed"
    assert [step.name for step in otlp.steps(attempt)] == ["parse", "plan", "dispatch", "answer"]
    assert [step.name for step in otlp.steps(turn)][-2:] == ["commit", "close"]
    names = "gen_ai.provider.name", "sessionbridge.provider", "gen_ai.usage.input_tokens"
    told_of = [values(span.attributes) for span in (attempt, turn)]
    who = [("anthropic", "claude", 7), ("aws.bedrock", "cloud", 80)]
    assert [tuple(told[name] for name in names) for told in told_of] == who
    assert [told.get("error.type") for told in told_of] == ["ApiFailed", None]
    points = otlp.points(TOKENS)
    told_by = [tuple(about[name] for name in names[:2]) for about, _ in points]
    read = [point.sum for about, point in points if about["gen_ai.token.type"] == "input"]
    assert (set(told_by), sorted(read)) == ({it[:2] for it in who}, [7, 80])
    durations = {about["sessionbridge.provider"]: about for about, _ in otlp.points(DURATION)}
    assert durations["claude"]["error.type"] == "ApiFailed"
    assert "error.type" not in durations["cloud"]
    assert {vendor for vendor, _ in told_by} <= VENDORS


async def test_where_none_can_the_turn_is_the_first_s_and_the_others_are_within(
    place: Place, otlp: Collector
) -> None:
    for tokens, name in enumerate(("claude", "cloud", "key"), 1):
        gives_up(place.dispatchers[name], tokens)
    await moved(place)
    *others, turn = otlp.turns
    names = "sessionbridge.provider", "gen_ai.usage.input_tokens", "error.type"
    told_of = [values(span.attributes) for span in (turn, *others)]
    assert [tuple(told[name] for name in names) for told in told_of] == [
        ("claude", 1, "ApiFailed"),
        ("cloud", 2, "ApiFailed"),
        ("key", 3, "ApiFailed"),
    ]
    for before, after in pairwise((otlp.steps(turn)[-1], *others)):
        assert before.end_time_unix_nano <= after.start_time_unix_nano
    points = [p for about, p in otlp.points(TOKENS) if about["gen_ai.token.type"] == "input"]
    assert sorted(point.sum for point in points) == [1, 2, 3]


async def test_metrics_are_by_caller_and_have_the_boundaries_that_are_advised(
    house: House, otlp: Collector
) -> None:
    await told(house, of_ann(), body("hi", stream=True))
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-x",
        "gen_ai.response.model": "claude-scripted-1",
        "sessionbridge.client": "ann",
        "sessionbridge.provider": "claude",
    }
    (turn,) = otlp.turns
    tokens = {it["gen_ai.token.type"]: (it, point) for it, point in otlp.points(TOKENS)}
    for kind, count in (("input", 80), ("output", 20)):
        told_about, point = tokens[kind]
        assert told_about == about | {"gen_ai.token.type": kind}
        assert (point.count, point.sum) == (1, count)
        assert point.explicit_bounds[:4] == [1, 4, 16, 64]
        assert point.explicit_bounds[-1] == 67108864
        assert point.exemplars[0].span_id == turn.span_id
    for name in (DURATION, FIRST_CHUNK):
        ((told_about, point),) = otlp.points(name)
        assert (told_about, point.count) == (about, 1)
        assert (point.explicit_bounds[0], point.explicit_bounds[-1]) == (0.01, 81.92)
    assert {name: metric.unit for name, metric in otlp.metrics.items()} == {
        TOKENS: "{token}",
        DURATION: "s",
        FIRST_CHUNK: "s",
    }


async def test_all_names_are_those_of_the_conventions_or_our_own(
    house: House, otlp: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONTENT, "SPAN_ONLY")
    known = {it for it in vars(gen_ai_attributes).values() if isinstance(it, str)}
    schema = {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}
    await told(house, of_ann(), body("hi", stream=True, system="be kind", **schema))
    house.dispatcher.fails = ApiFailed(529, "overloaded")
    await told(house, of_ann(), body("hi again"))
    points = [about for name in otlp.metrics for about, _ in otlp.points(name)]
    told_of = [*points, *(values(span.attributes) for span in otlp.spans)]
    names = {name for about in told_of for name in about}
    assert {"gen_ai.output.type", "gen_ai.input.messages", "error.type"} < names
    ours = {name for name in names if name.startswith("sessionbridge.")}
    assert names - ours <= {*known, error_attributes.ERROR_TYPE}
    page = (DOCS / "telemetry.md").read_text("utf-8")
    assert [name for name in {*names, *otlp.metrics} if f"`{name}`" not in page] == []


async def test_a_turn_that_fails_tells_the_class_of_its_error(
    house: House, otlp: Collector
) -> None:
    house.dispatcher.fails = ApiFailed(529, SECRET)
    await told(house, of_ann(), body("hi"))
    (turn,) = otlp.turns
    assert (turn.status.code, turn.status.message) == (Status.STATUS_CODE_ERROR, "529 ApiFailed")
    assert values(turn.attributes)["error.type"] == "ApiFailed"
    assert [step.name for step in otlp.steps(turn)] == ["parse", "plan", "dispatch"]
    assert [about["error.type"] for about, _ in otlp.points(DURATION)] == ["ApiFailed"]
    assert set(otlp.metrics) == {DURATION}  # nothing was used, nor begun
    assert SECRET.encode() not in b"".join(body for _, body in otlp.bodies)


async def test_a_client_that_leaves_is_told_of(house: House, otlp: Collector) -> None:
    telemetry, exchange = Telemetry(), of_ann()
    telemetry.start()
    async with aclosing(house.bridge.handle(exchange, body("hi", stream=True))) as parts:
        await anext(parts)  # and no further
    telemetry.ended(exchange)
    telemetry.close()
    (turn,) = otlp.turns
    assert values(turn.attributes)["error.type"] == "left"
    assert otlp.steps(turn)[-1].name == "answer"


async def test_what_is_only_prepared_is_no_failure(house: House, otlp: Collector) -> None:
    await told(house, of_ann(), body("hi", max_tokens=0))
    (turn,) = otlp.turns
    assert [step.name for step in otlp.steps(turn)] == ["parse", "plan", "prepare"]
    assert "error.type" not in values(turn.attributes)


async def test_what_another_node_has_used_it_tells_itself(house: House, otlp: Collector) -> None:
    telemetry, exchange = Telemetry(), of_ann()
    telemetry.start()
    exchange.outcome.enter("pass_on")
    exchange.outcome.node, exchange.outcome.usage = "http://other:8080", Usage(1, 2, 3, 4)
    exchange.outcome.error = "529 Overloaded"
    telemetry.ended(exchange)
    telemetry.close()
    told_of = values(otlp.turns[0].attributes)
    assert told_of["sessionbridge.node"] == "http://other:8080"
    assert told_of["error.type"] == "Overloaded"
    assert [name for name in told_of if "usage" in name] == [] and TOKENS not in otlp.metrics


async def test_nothing_of_what_was_said_is_told(house: House, otlp: Collector) -> None:
    await told(house, of_ann(), body(SECRET, system=SECRET))
    assert len(otlp.turns) == 1
    assert SECRET.encode() not in b"".join(body for _, body in otlp.bodies)


async def test_it_is_where_the_standard_variable_asks_for_it(
    house: House, otlp: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONTENT, "SPAN_ONLY")
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
    house.dispatcher.answer = lambda _: Message("assistant", (call,))  # type: ignore[arg-type]
    tool = {"name": "look", "input_schema": {"type": "object"}}
    await told(house, of_ann(), body("what is it?", system="be brief", tools=[tool]))
    said = values(otlp.turns[0].attributes)
    assert json.loads(said["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "be brief"}
    ]
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "what is it?"}]}
    ]
    (answer,) = json.loads(said["gen_ai.output.messages"])
    called = {"type": "tool_call", "id": "t1", "name": "look", "arguments": {"at": 1}}
    assert answer == {"role": "assistant", "parts": [called], "finish_reason": "tool_use"}


class Noting(dict[str, Any]):
    """A block that notes the threads which read what it says."""

    def __init__(self, **said: Any) -> None:
        super().__init__(**said)
        self.read_on: set[threading.Thread] = set()

    def __getitem__(self, name: str) -> Any:
        self.read_on.add(threading.current_thread())
        return super().__getitem__(name)


def ended_with(block: Noting) -> Exchange:
    exchange = of_ann()
    said = Message("user", (block,))  # type: ignore[arg-type]
    exchange.outcome.asked = TurnRequest("claude-x", "", (said,), stream=False)
    exchange.outcome.enter("close")
    return exchange


def test_no_turn_waits_until_what_was_said_is_written(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONTENT, "SPAN_ONLY")
    block, telemetry = Noting(type="text", text=SECRET), Telemetry()
    telemetry.start()
    telemetry.ended(ended_with(block))
    telemetry.close()
    assert SECRET in values(otlp.turns[0].attributes)["gen_ai.input.messages"]
    assert block.read_on and threading.current_thread() not in block.read_on


@pytest.mark.parametrize(
    ("variables", "sampled"),
    [
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "01"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, "00"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "01"),
    ],
)
def test_nothing_is_written_of_what_nobody_is_to_see_and_metrics_are_told(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sampled: str
) -> None:
    for name, value in {CONTENT: "SPAN_ONLY", **variables}.items():
        monkeypatch.setenv(name, value)
    block, telemetry = Noting(type="text", text=SECRET), Telemetry()
    telemetry.start()
    traced = {"traceparent": f"00-{TRACE}-{CALLER}-{sampled}"}
    telemetry.ended(replace(ended_with(block), trace=traced))
    telemetry.close()
    assert (otlp.spans, block.read_on) == ([], set())
    ((_, duration),) = otlp.points(DURATION)
    assert duration.count == 1


async def test_half_a_character_in_an_id_loses_no_span(house: House, otlp: Collector) -> None:
    odd = Origin("tests", "chat-\udce4", "conversation", "client")
    await told(house, of_ann(origin=odd), body("hi"))
    assert values(otlp.turns[0].attributes)["gen_ai.conversation.id"] == "chat-\\udce4"


@pytest.mark.parametrize("header", ["", "00-nonsense", f"00-{TRACE}-{CALLER}-01, 00-x"])
async def test_a_header_that_names_no_trace_begins_one(
    house: House, otlp: Collector, header: str
) -> None:
    await told(house, of_ann(trace={"traceparent": header}), body("hi"))
    (turn,) = otlp.turns
    assert turn.parent_span_id == b"" and turn.trace_id.hex() != TRACE


@pytest.mark.parametrize("status", [None, 503])
async def test_a_collector_that_takes_nothing_holds_up_neither_turns_nor_the_end(
    house: House, otlp: Collector, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    for name in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(f"OTEL_BSP_{name}", "1")
    otlp.status = status or 200
    if status is None:
        otlp.answers.clear()
    exporters = {"traces": ["otlp_proto_http"], "metrics": ["otlp_proto_http"]}
    recorder = Recorder(exporters, content=False, patience=0.1)  # type: ignore[arg-type]
    for number in range(3):
        exchange = of_ann()
        async with aclosing(house.bridge.handle(exchange, body(f"hi {number}"))) as parts:
            async for _ in parts:
                pass
        recorder.record(exchange)
    recorder.close()
    assert house.turns() == 3
    exporting = [it for it in threading.enumerate() if it.name.startswith("Otel")]
    assert exporting, "it is still under way"
    otlp.status = 200
    otlp.answers.set()
    for thread in exporting:
        thread.join(20)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "nobodys"}, "traces to be exported by nobodys, which no"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "by otlp_proto_grpc, which no"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "-1"}, "could not be started (ValueError)"),
    ],
)
def test_variables_that_cannot_be_followed_are_logged(
    otlp: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    words: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    telemetry = Telemetry()
    telemetry.start()
    telemetry.ended(of_ann())
    telemetry.close()
    assert words in caplog.text and otlp.bodies == []


def test_without_the_extra_it_is_said_how_to_have_it(
    otlp: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "sessionbridge.telemetry.recorder")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    telemetry = Telemetry()
    telemetry.start()
    telemetry.ended(of_ann())
    telemetry.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "opentelemetry.sdk.metrics is not installed; pip install 'mitmproxy-sess" in line


SHOWS = """
import os, sys
from sessionbridge.proxy.addon import addons

def there():
    parts = "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.semconv"
    return any(name.startswith(parts) for name in sys.modules)

addons[0].telemetry.start()
before = there()
os.environ["OTEL_TRACES_EXPORTER"] = "console"
addons[0].telemetry.start()
print(before, there())
"""


def test_nothing_of_it_is_imported_until_it_is_asked_for(tmp_path: Path) -> None:
    """The API alone is: the MCP library has it for itself."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWS],
        env=environment(tmp_path) | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
