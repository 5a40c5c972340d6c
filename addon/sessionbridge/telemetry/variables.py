"""What the standard variables of OpenTelemetry ask for. Where a collector is, how it is spoken to
and what is sampled its SDK reads of them itself.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Signal = Literal["traces", "metrics"]
_SIGNALS: tuple[Signal, ...] = ("traces", "metrics")

_EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""For each protocol of OTLP the exporter's name, as its package gives it."""

_CONTENT = {"true", "span_only", "span_and_event"}


class NoExporter(Exception):
    """Of that name, in any package that is installed."""


def exporters(variables: Mapping[str, str]) -> dict[Signal, list[str]]:
    """Their names, for each signal that is to be exported. To the specification that is all, by
    OTLP to this machine; here it is none until a variable names an exporter or a collector."""
    if _word(variables, "OTEL_SDK_DISABLED") == "true":
        return {}
    found = {signal: _exporters(variables, signal) for signal in _SIGNALS}
    return {signal: names for signal, names in found.items() if names}


def _exporters(variables: Mapping[str, str], signal: Signal) -> list[str]:
    named = _word(variables, f"OTEL_{signal.upper()}_EXPORTER")
    if not named and _of_otlp(variables, signal, "ENDPOINT"):
        named = "otlp"
    names = [name for name in map(str.strip, named.split(",")) if name not in ("", "none")]
    protocol = _of_otlp(variables, signal, "PROTOCOL") or "http/protobuf"
    otlp = _EXPORTERS.get(protocol, f"otlp by {protocol}")
    return [otlp if name == "otlp" else name for name in names]


def content(variables: Mapping[str, str]) -> bool:
    """Whether spans are to hold what was said. Events, where it could be instead, are not made."""
    return _word(variables, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") in _CONTENT


def _of_otlp(variables: Mapping[str, str], signal: Signal, what: str) -> str:
    of_signal = _word(variables, f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
    return of_signal or _word(variables, f"OTEL_EXPORTER_OTLP_{what}")


def _word(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, "").strip().lower()
