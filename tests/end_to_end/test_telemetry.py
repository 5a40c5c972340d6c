"""Spans of a real proxy."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic
from websockets.sync.client import connect

from tests.support.otlp_collector import collector, values
from tests.support.proxy import free_port, running_proxy, said, wait_for
from tests.support.scripted_api import ScriptedServer, user

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_what_is_left_is_exported_before_the_proxy_ends_and_no_answer_is_waited_for(
    tmp_path: Path, api: ScriptedServer
) -> None:
    headers = {"X-OpenClaw-Session": "traced", "traceparent": f"00-{TRACE}-{CALLER}-01"}
    with collector() as otlp:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",  # seconds
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests",
        }
        otlp.answers.clear()
        with running_proxy(tmp_path, api.url, env=variables) as proxy:
            message = proxy.anthropic(headers).messages.create(
                model="sonnet", max_tokens=100, messages=[user("hello (traced)")]
            )
            assert said(message)
            proxy.bridged("traced", 1)
    (turn,) = otlp.turns
    told = values(turn.attributes)
    assert (turn.name, turn.trace_id.hex(), turn.parent_span_id.hex()) == (
        "chat sonnet",
        TRACE,
        CALLER,
    )
    assert told["gen_ai.conversation.id"] == "traced"
    assert told["gen_ai.response.id"] == message.id
    assert told["gen_ai.usage.output_tokens"] == message.usage.output_tokens
    names = [step.name for step in otlp.steps(turn)]
    assert names == ["parse", "plan", "dispatch", "answer", "commit", "close"]
    ((about, duration),) = otlp.points("gen_ai.client.operation.duration")
    assert (about["gen_ai.request.model"], duration.count) == ("sonnet", 1)
    assert otlp.resource["service.name"] == "sessionbridge"
    assert otlp.resource["deployment.environment.name"] == "tests"
    assert "opentelemetry" not in proxy.log


def test_what_a_client_that_leaves_has_used_is_told(tmp_path: Path, api: ScriptedServer) -> None:
    """The proxy knows it only once the CLI has ended, which is after the request has."""
    headers = {"X-OpenClaw-Session": "leaves"}
    port = free_port()
    modes = ("--mode", "regular@0", "--mode", f"reverse:https://api.openai.com@{port}")
    with collector() as otlp:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.url}
        with running_proxy(tmp_path, api.url, *modes, env=variables) as proxy:
            regular = next(f"http://127.0.0.1:{other}" for other in proxy.ports if other != port)
            tls = anthropic.DefaultHttpxClient(proxy=regular, verify=proxy.tls(), trust_env=False)
            leaving = anthropic.Anthropic(api_key="k", default_headers=headers, http_client=tls)
            asked = user("Stay. [gate leaves-http]")
            with leaving.messages.stream(model="sonnet", max_tokens=9, messages=[asked]):
                api.wait_until_held("leaves-http")
                leaving.close()
            url = f"ws://127.0.0.1:{port}/v1/responses"
            with connect(url, proxy=None, additional_headers=headers) as socket:
                frame = {"type": "response.create", "model": "sonnet"}
                socket.send(json.dumps(frame | {"input": "Stay. [gate leaves-socket]"}))
                assert json.loads(socket.recv(30))["type"] == "response.created"
            (flow, _) = proxy.bridged("leaves", 2)
            assert flow["metadata"]["usage"] is None  # as the client left
            wait_for(lambda: not proxy.children(), "the turns to be stopped")
    used = [values(turn.attributes) for turn in otlp.turns]
    assert [told["error.type"] for told in used] == ["left", "left"]
    assert all(told["gen_ai.usage.input_tokens"] > 0 for told in used)
    points = otlp.points("gen_ai.client.token.usage")
    read = [point.count for about, point in points if about["gen_ai.token.type"] == "input"]
    assert sum(read) == 2
