"""Spans of a real proxy, as it ends."""

from __future__ import annotations

from pathlib import Path

from tests.support.otlp_collector import collector, values
from tests.support.proxy import running_proxy, said
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
