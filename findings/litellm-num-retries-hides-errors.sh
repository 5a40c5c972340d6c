#!/usr/bin/env bash
# LiteLLM's num_retries tries again with tenacity, which it does not depend on. Without that the first
# error, of whatever kind, is replaced by a plain Exception that says to install tenacity, also a 401 that
# nobody would try again: `except litellm.RateLimitError` and `AuthenticationError` catch nothing any more.
#
#   litellm 1.110.2, installed by pip alone, a server that answers 401:
#       num_retries=0   AuthenticationError
#       num_retries=1   Exception: tenacity import failed please run `pip install tenacity`. …
#
# Seen on 2026-11-30. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >ask.py <<'PY'
import http.server, json, sys, threading
import litellm
class Refusing(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        error = {"type": "authentication_error", "message": "No such key."}
        answer = json.dumps({"type": "error", "error": error}).encode()
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
threading.Thread(target=server.serve_forever, daemon=True).start()
litellm.suppress_debug_info = True
told = []
for retries in (0, 1):
    try:
        litellm.completion(
            model="anthropic/any",
            api_base=f"http://127.0.0.1:{server.server_port}",
            api_key="unused",
            messages=[{"role": "user", "content": "Hi"}],
            num_retries=retries,
        )
    except Exception as error:
        told.append(type(error).__name__)
        print(f"num_retries={retries}: {type(error).__name__}: {str(error)[:80]}")
sys.exit(told != ["AuthenticationError", "Exception"])
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check litellm==1.110.2
env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy HOME="$place" LITELLM_LOCAL_MODEL_COST_MAP=True \
    venv/bin/python ask.py
