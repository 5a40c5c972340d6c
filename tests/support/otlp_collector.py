"""An OTLP collector of the tests' own: HTTP on loopback, read by the official protobufs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`bodies` is all that came, by path. While `answers` is not set, nobody gets an answer; those
    that are given have this `status`."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.answers = Event()
        self.answers.set()
        self.status = 200
        self.url = ""

    @property
    def _traces(self) -> list[ExportTraceServiceRequest]:
        bodies = [body for path, body in self.bodies if path == "/v1/traces"]
        return [ExportTraceServiceRequest.FromString(body) for body in bodies]

    @property
    def _metrics(self) -> list[ExportMetricsServiceRequest]:
        bodies = [body for path, body in self.bodies if path == "/v1/metrics"]
        return [ExportMetricsServiceRequest.FromString(body) for body in bodies]

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self._traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def turns(self) -> list[Span]:
        """In the order they ended."""
        spans = [span for span in self.spans if span.kind == Span.SPAN_KIND_CLIENT]
        return sorted(spans, key=lambda span: span.end_time_unix_nano)

    def steps(self, turn: Span) -> list[Span]:
        within = [span for span in self.spans if span.parent_span_id == turn.span_id]
        steps = [span for span in within if span.kind == Span.SPAN_KIND_INTERNAL]
        return sorted(steps, key=lambda span: span.start_time_unix_nano)

    @property
    def resource(self) -> dict[str, Any]:
        return values(self._traces[0].resource_spans[0].resource.attributes)

    @property
    def metrics(self) -> dict[str, Metric]:
        """As they were told last."""
        return {
            metric.name: metric
            for request in self._metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[tuple[dict[str, Any], HistogramDataPoint]]:
        return [(values(it.attributes), it) for it in self.metrics[name].histogram.data_points]


def values(attributes: Any) -> dict[str, Any]:
    told: Mapping[str, KeyValue] = {it.key: it for it in attributes}
    return {name: _value(it.value) for name, it in told.items()}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return [_value(it) for it in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.bodies.append((self.path, body))
            made.answers.wait()
            self.send_response(made.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield made
    finally:
        made.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()
