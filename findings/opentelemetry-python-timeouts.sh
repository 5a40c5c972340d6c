#!/usr/bin/env bash
# Three limits say how long an export may take, all in milliseconds by the specification. The SDK of Python
# takes OTEL_EXPORTER_OTLP_TIMEOUT for seconds, so that the 10000 that is the specified default is nearly
# three hours, and holds to neither OTEL_BSP_EXPORT_TIMEOUT nor the timeout of force_flush.
#
#   opentelemetry-sdk and -exporter-otlp-proto-http 1.45.2, a collector that answers after 2 s, all three
#   at 500: force_flush(500) returns True, after the answer has come
#
# Seen on 2026-11-30 (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Exits
# with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >tell.py <<'PY'
import http.server, os, sys, threading, time
answered = threading.Event()
class Slow(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(2)
        answered.set()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = os.environ["OTEL_BSP_EXPORT_TIMEOUT"] = "500"
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
provider.get_tracer("any").start_span("chat").end()
flushed = provider.force_flush(500)
print(f"force_flush(500) is {flushed}, and the collector has answered: {answered.is_set()}")
sys.exit(not (flushed and answered.is_set()))
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2 \
    opentelemetry-exporter-otlp-proto-http==1.45.2
env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy venv/bin/python tell.py
