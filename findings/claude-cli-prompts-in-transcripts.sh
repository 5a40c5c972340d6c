#!/usr/bin/env bash
# The Claude CLI writes into the transcript not only what is said, but each request to the model once
# more: the system prompt and the tools (`api-request-shape`), anew whenever they change, and messages
# of its own (`api-request-blob`). Whoever has switched the snapshot of the system prompt off still
# finds it below ~/.claude/projects. CLAUDE_CODE_ELEGANT_MEADOW=0, which no page names, keeps it from
# doing so.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), --print, --system-prompt-snapshot off, lines of the
#   transcript that hold the prompt:
#       as it is: 1 (api-request-shape)
#       CLAUDE_CODE_ELEGANT_MEADOW=0: 0
#
# Seen on 2026-11-30. Exits with 1 if it changed.
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
python3 api.py Hi >port & api=$!
trap 'kill "$api"; rm -rf "$place"' EXIT
until [ -s port ]; do :; done

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
claude=$(echo venv/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude)
mkdir home
ask() { # asks once with this environment; prints how many lines hold the system prompt
    rm -rf home/.claude
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 "$@" \
        "$claude" --print Hello --tools "" --setting-sources "" \
        --system-prompt "Speak of heliotropes." --system-prompt-snapshot off </dev/null >answer
    cat home/.claude/projects/*/*.jsonl | { grep heliotropes || true; } >found
    wc -l <found
}

plain=$(ask)
kind=$(python3 -c 'import json; print(json.loads(open("found").readline())["type"])')
without=$(ask CLAUDE_CODE_ELEGANT_MEADOW=0)
echo "as it is: $plain ($kind); CLAUDE_CODE_ELEGANT_MEADOW=0: $without"
[ "$plain $kind $without" = "1 api-request-shape 0" ]
