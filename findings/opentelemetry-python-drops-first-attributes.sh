#!/usr/bin/env bash
# A span holds 128 attributes, and the specification has an SDK discard those that come after. That of
# Python discards those that came first, which by custom are the ones that say what the span is.
#
#   opentelemetry-sdk 1.45.2, a span begun with gen_ai.operation.name, then 128 attributes more:
#       128 are exported, gen_ai.operation.name is not among them; the last one is
#
# Seen on 2026-11-30 (https://opentelemetry.io/docs/specs/otel/common/#attribute-limits). Exits with 1 if it
# changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >tell.py <<'PY'
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
span = provider.get_tracer("any").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
for number in range(1, 129):
    span.set_attribute(f"more.{number}", number)
span.end()
names = list(kept.get_finished_spans()[0].attributes)
print(f"{len(names)} attributes, from {names[0]} to {names[-1]}")
sys.exit((len(names), names[0], names[-1]) != (128, "more.1", "more.128"))
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2
env -u OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT -u OTEL_ATTRIBUTE_COUNT_LIMIT venv/bin/python tell.py
