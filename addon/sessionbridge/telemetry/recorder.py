"""One turn as a span, with its steps as the spans within, and as measurements. What another
provider could not answer is a span of its own within that of the turn.

All are made when the turn has ended, from the times that were noted, on a thread of its own: no
request waits for any of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import entry_points
from itertools import pairwise
from threading import Thread
from time import monotonic
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sessionbridge.errors import presentable
from sessionbridge.telemetry import attributes
from sessionbridge.telemetry.content import messages
from sessionbridge.telemetry.variables import NoExporter, Signal
from sessionbridge.turns.exchange import Exchange, Outcome

_NAME = "sessionbridge"
_PATIENCE = 3.0
"""Seconds that the proxy's end waits for what is left to be exported."""

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))
"""The boundaries that the conventions advise."""


class Recorder:
    """Has providers of its own: what else runs in the process may have set the global ones. Raises
    `NoExporter`."""

    def __init__(
        self,
        exporters: Mapping[Signal, Sequence[str]],
        *,
        content: bool,
        patience: float = _PATIENCE,
    ) -> None:
        self._content = content
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "telemetry")
        made = {signal: _made(signal, names) for signal, names in exporters.items()}
        resource = _resource()
        sampler = None if "traces" in made else ALWAYS_OFF
        self._tracers = TracerProvider(sampler, resource, shutdown_on_exit=False)
        for exporter in made.get("traces", ()):
            self._tracers.add_span_processor(BatchSpanProcessor(exporter))
        readers = [_reader(exporter) for exporter in made.get("metrics", ())]
        self._meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._tracers.get_tracer(_NAME)
        self._propagator = TraceContextTextMapPropagator()
        meter = self._meters.get_meter(_NAME)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to receive the first chunk of a streaming response.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def record(self, exchange: Exchange) -> None:
        """To be called once, when it has ended."""
        self._thread.submit(self._record, exchange, exchange.outcome.elapsed)

    def close(self) -> None:
        """On threads of their own: an export that is under way is not to be hurried."""
        providers = self._tracers, self._meters
        ends = [Thread(target=self._end, args=[one], daemon=True) for one in providers]
        for end in ends:
            end.start()
        until = monotonic() + self._patience
        for end in ends:
            end.join(max(0.0, until - monotonic()))

    def _end(self, provider: TracerProvider | MeterProvider) -> None:
        self._thread.shutdown()
        provider.shutdown()

    def _record(self, exchange: Exchange, ended: float) -> None:
        try:
            self._tell(exchange, self._propagator.extract(exchange.trace), 0.0, ended)
        except Exception as error:
            presentable(error)  # which logs it; the turn itself is well

    def _tell(self, exchange: Exchange, parent: Context, begun: float, ended: float) -> None:
        """Times are in seconds since the request came."""
        span = self._span(exchange, parent, begun)
        within = set_span_in_context(span)
        self._measure(exchange, ended - begun, within)
        outcome = exchange.outcome
        last = "", outcome.given_up or ended
        for (step, entered), (_, left) in pairwise([*outcome.steps, last]):
            start, end = _at(outcome, entered), _at(outcome, left)
            self._tracer.start_span(step, within, start_time=start).end(end)
        for attempt in outcome.attempts:
            _, entered = attempt.steps[0]
            self._tell(replace(exchange, outcome=attempt), within, entered, attempt.given_up)
        span.end(_at(outcome, ended))

    def _span(self, exchange: Exchange, parent: Context, begun: float) -> Span:
        outcome, error = exchange.outcome, attributes.error(exchange)
        span = self._tracer.start_span(
            attributes.name(exchange),
            parent,
            SpanKind.CLIENT,
            attributes.of_span(exchange),
            start_time=_at(outcome, begun),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, outcome.error))
        if self._content and span.is_recording():
            span.set_attributes(messages(outcome))
        return span

    def _measure(self, exchange: Exchange, took: float, context: Context) -> None:
        about, used = attributes.of_metrics(exchange), attributes.used(exchange.outcome)
        error = attributes.error(exchange)
        failed = {} if error is None else {"error.type": error}
        self._duration.record(took, about | failed, context)
        for kind in ("input", "output") if used else ():
            count = used[f"gen_ai.usage.{kind}_tokens"]
            self._tokens.record(count, about | {"gen_ai.token.type": kind}, context)
        if (first := attributes.first_chunk(exchange.outcome)) is not None:
            self._first_chunk.record(first, about, context)


def _at(outcome: Outcome, seconds: float) -> int:
    return int((outcome.started_at + seconds) * 1e9)


def _made(signal: Signal, names: Sequence[str]) -> list[Any]:
    return [_exporter(signal, name)() for name in names]


def _exporter(signal: Signal, name: str) -> Any:
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return found.load()
    raise NoExporter(
        f"OTEL_… variables ask for {signal} to be exported by {name}, which no installed package "
        "has, so nothing is; otlp by http/protobuf comes with 'mitmproxy-sessionbridge[otel]'."
    )


def _reader(exporter: Any) -> MetricReader:
    """Some are asked, as Prometheus asks, and need nobody who exports."""
    if isinstance(exporter, MetricReader):
        return exporter
    return PeriodicExportingMetricReader(exporter)


def _resource() -> Resource:
    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: _NAME}))
    return found
