#!/usr/bin/env bash
# One prompt, several requests: where the model's answer is empty, which is a valid answer, the Claude
# CLI asks again by itself, with a message in the user's name that stays in the conversation.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), an API that answers without content (end_turn):
#       2 requests, the second with "[Your previous response had no visible output. ...]"
#
# Seen on 2026-11-29. Counts of tokens and conversations that are kept outside no longer agree with
# what the model saw. Exits with 1 if it changed.
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
python3 api.py  >port & api=$!
trap 'kill "$api"; rm -rf "$place"' EXIT
until [ -s port ]; do :; done

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
claude=$(echo venv/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude)
mkdir home
ask() { # asks once with these arguments; the requests are in the file of that name
    : >requests
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        "$claude" --print Hello --tools "" --setting-sources "" "$@" </dev/null >answer
}

ask --model sonnet || true
python3 - <<'PY'
import json, sys
requests = [json.loads(line) for line in open("requests")]
last = requests[-1]["messages"]
texts = [block["text"] for message in last if message["role"] == "user"
         for block in message["content"] if isinstance(block, dict) and "text" in block]
print(len(requests), "requests; the last user message:", ascii(texts[-1][:120]))
sys.exit(len(requests) < 2 or "Hello" in texts[-1])
PY
