#!/usr/bin/env bash
# Where a model has refused, the Claude CLI asks an older one by itself, for some categories of the
# refusal: two requests for one prompt, and of the first neither the tokens nor the explanation are told.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), an API that refuses with the category "bio":
#       asked of opus: claude-opus-5-5, then an older model; with another category claude-opus-5-5 alone
#
# Seen on 2026-11-29. CLAUDE_CODE_DISABLE_REFUSAL_RETRY=1 does not change it,
# CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK=1 does. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >api.py <<'PY'
import http.server, json, sys
class Api(http.server.BaseHTTPRequestHandler):
    """Keeps each request and gives every one the same answer."""
    def log_message(self, *words): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
            self.send_error(404)
            return
        with open("requests", "ab") as file:
            file.write(body + b"\n")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                   "model": json.loads(body)["model"], "stop_reason": None, "usage": usage}
        details = {"type": "refusal", "category": sys.argv[1], "explanation": "No."}
        end = {"stop_reason": "refusal", "stop_details": details}
        events = [{"type": "message_start", "message": message},
                  {"type": "message_delta", "delta": end, "usage": usage},
                  {"type": "message_stop"}]
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
claude=$(echo venv/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude)
mkdir home
ask() { # asks an API that refuses for this reason; prints the models that were asked
    python3 api.py "$1" >port & api=$!
    trap 'kill "$api"; rm -rf "$place"' EXIT
    until [ -s port ]; do :; done
    : >requests
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused "${@:2}" \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_DISABLE_REFUSAL_RETRY=1 \
        "$claude" --print Hello --tools "" --setting-sources "" --model opus </dev/null >answer || true
    kill "$api"; wait "$api" 2>/dev/null || true; : >port
    python3 -c 'import json; print(*[json.loads(line)["model"] for line in open("requests")])'
}
first=$(ask bio)
off=$(ask bio CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK=1)
other=$(ask harassment)
trap 'rm -rf "$place"' EXIT
echo "bio: $first"
echo "bio, fallback off: $off"
echo "another category: $other"
[ "$off" = claude-opus-5-5 ] && [ "$other" = claude-opus-5-5 ] && [[ "$first" == "claude-opus-5-5 claude-opus-"* ]]
