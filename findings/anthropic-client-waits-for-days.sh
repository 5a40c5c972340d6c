#!/usr/bin/env bash
# Anthropic's and OpenAI's clients for Python are made by one generator, and both try a 429 again. OpenAI's
# gives up at once where retry-after is more than two minutes. Anthropic's waits for as long as it is told
# to, each time, be it a day: its timeout is for single requests, and nothing is logged.
#
#   anthropic 2.14.0 and openai 3.57.0, timeout=1, a server that answers 429 with retry-after: 86400:
#       anthropic asks 3 times and sleeps [86400.0, 86400.0]; openai asks once
#
# Seen on 2026-11-30. A gateway that tells a spent budget by retry-after has to add x-should-retry: false,
# which both obey. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >ask.py <<'PY'
import http.server, sys, threading, time
import anthropic, openai
asked, slept = [], []
class Limited(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        asked.append(self.path)
        self.send_response(429)
        self.send_header("retry-after", "86400")
        self.send_header("content-length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Limited)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
time.sleep = slept.append  # or this would take two days
talk = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}
by_anthropic = anthropic.Anthropic(api_key="unused", base_url=url, timeout=1)
by_openai = openai.OpenAI(api_key="unused", base_url=f"{url}/v1", timeout=1)
try:
    by_anthropic.messages.create(max_tokens=9, **talk)
except anthropic.RateLimitError:
    print(f"anthropic asked {len(asked)} times and slept {slept}")
by_the_first, slept_for = len(asked), list(slept)
try:
    by_openai.chat.completions.create(**talk)
except openai.RateLimitError:
    print(f"openai asked {len(asked) - by_the_first} times and slept {slept[len(slept_for):]}")
seen = by_the_first, slept_for, len(asked), len(slept)
sys.exit(seen != (3, [86400.0, 86400.0], 4, 2))
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check anthropic==2.14.0 openai==3.57.0
env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy HOME="$place" venv/bin/python ask.py
