#!/usr/bin/env bash
# A Claude CLI that has begun before there was a login takes the login that comes later, but not all
# that goes with it: its requests carry the login's token without the beta `oauth-2025-04-20`, which
# those of a CLI that begins after it have.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), stream-json, the login's file written
#       before `initialize`: Authorization: Bearer ..., Anthropic-Beta with oauth-2025-04-20
#       after `initialize`:  Authorization: Bearer ..., Anthropic-Beta without it
#
# Seen on 2026-11-30. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >api.py <<'PY'
import http.server, json, sys
class Api(http.server.BaseHTTPRequestHandler):
    """Keeps the headers of each request and gives every one the same answer."""
    def log_message(self, *words): pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.path.startswith("/v1/messages") or "count_tokens" in self.path:
            self.send_error(404)
            return
        with open("requests", "a") as file:
            file.write(json.dumps({k.lower(): v for k, v in self.headers.items()}) + "\n")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                   "model": json.loads(body)["model"], "stop_reason": None, "usage": usage}
        events = [{"type": "message_start", "message": message}]
        for index, words in enumerate(sys.argv[1:]):
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": words}
            events += [{"type": "content_block_start", "index": index, "content_block": block},
                       {"type": "content_block_delta", "index": index, "delta": delta},
                       {"type": "content_block_stop", "index": index}]
        events += [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
                   {"type": "message_stop"}]
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 api.py Hi >port & api=$!
trap 'kill "$api"; rm -rf "$place"' EXIT
until [ -s port ]; do :; done

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
claude=$(echo venv/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude)
mkdir home

cat >talk.py <<'PY'
import json, pathlib, subprocess, sys, time
when, claude = sys.argv[1:]
process = subprocess.Popen(
    [claude, "--print", "--input-format", "stream-json", "--output-format", "stream-json",
     "--verbose", "--tools", "", "--setting-sources", ""],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def tell(message, answer):
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline())["type"] != answer: pass
def log_in():
    login = {"accessToken": "sk-ant-oat01-unused", "refreshToken": "sk-ant-ort01-unused",
             "expiresAt": int(time.time() * 1000) + 3_600_000, "scopes": ["user:inference"],
             "subscriptionType": "max"}
    file = pathlib.Path.home() / ".claude" / ".credentials.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"claudeAiOauth": login}))
if when == "before": log_in()
tell({"type": "control_request", "request_id": "1", "request": {"subtype": "initialize"}},
     "control_response")
if when == "after": log_in()
tell({"type": "user", "message": {"role": "user", "content": "Hello"}}, "result")
process.kill()
process.wait()
PY

login() { # says whether the request of one that has it so has token and beta
    rm -rf home/.claude
    : >requests
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 python3 talk.py "$1" "$claude"
    python3 -c 'import json
headers = json.loads(open("requests").readline())
print("oat01" in headers["authorization"], "oauth-2025-04-20" in headers["anthropic-beta"])'
}
before=$(login before)
after=$(login after)
echo "token and beta: before it began $before, after it $after"
[ "$before, $after" = "True True, True False" ]
