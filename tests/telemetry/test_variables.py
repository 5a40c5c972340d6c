"""Which of the standard variables ask for telemetry."""

from __future__ import annotations

import pytest

from sessionbridge.telemetry.variables import content, exporters

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
HTTP = {"traces": ["otlp_proto_http"], "metrics": ["otlp_proto_http"]}
GRPC = {"traces": ["otlp_proto_grpc"], "metrics": ["otlp_proto_grpc"]}


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, {}),
        ({"OTEL_SERVICE_NAME": "mine"}, {}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {}),
        (ENDPOINT, HTTP),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, {}),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, HTTP),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, {"traces": ["otlp_proto_http"]}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, {"traces": ["otlp_proto_http"]}),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, {"traces": ["otlp_proto_http", "console"]}),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, {"metrics": ["prometheus"]}),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, GRPC),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
            {"traces": ["otlp_proto_http"], "metrics": ["otlp_proto_grpc"]},
        ),
    ],
)
def test_nothing_is_exported_until_a_variable_asks(
    variables: dict[str, str], asked: dict[str, list[str]]
) -> None:
    assert exporters(variables) == asked


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (None, False),
        ("NO_CONTENT", False),
        ("EVENT_ONLY", False),
        ("false", False),
        ("everything", False),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("true", True),
    ],
)
def test_content_is_held_where_it_is_asked_for_by_name(value: str | None, held: bool) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    assert content({} if value is None else {name: value}) is held
