#!/usr/bin/env bash
# The Claude CLI changes the order of an answer: what the model wrote after a call of a tool, it is
# shown before the call from then on.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), an answer of
#       text "One.", call 1, text "Two.", call 2
#   is in the next request
#       text "One.", text "Two.", call 1, call 2
#
# Seen on 2026-11-29; the transcript has the true order. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >api.py <<'PY'
import http.server, json, sys
FIRST, LAST = json.loads(sys.argv[1]), [{"type": "text", "text": "Done."}]
class Api(http.server.BaseHTTPRequestHandler):
    """Keeps each request; answers the first with the blocks it was started with."""
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
        again = b'"tool_result"' in body
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": f"msg_{again}", "type": "message", "role": "assistant", "content": [],
                   "model": json.loads(body)["model"], "stop_reason": None, "usage": usage}
        events = [{"type": "message_start", "message": message}]
        for index, block in enumerate(LAST if again else FIRST):
            if block["type"] == "text":
                start, delta = {"text": ""}, {"type": "text_delta", "text": block["text"]}
            else:
                start = {"input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            events += [{"type": "content_block_start", "index": index, "content_block": block | start},
                       {"type": "content_block_delta", "index": index, "delta": delta},
                       {"type": "content_block_stop", "index": index}]
        reason = "end_turn" if again else "tool_use"
        events += [{"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage},
                   {"type": "message_stop"}]
        for event in events:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >tools.py <<'PY'
import json, sys
SCHEMA = json.loads(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "tools/call":
        with open("called", "a") as file:
            file.write(json.dumps(asked["params"]["arguments"]) + "\n")
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "tools", "version": "1"}},
        "tools/list": {"tools": [{"name": "keep", "description": "Keeps.", "inputSchema": SCHEMA}]},
        "tools/call": {"content": [{"type": "text", "text": "Kept."}]},
    }
    if "id" in asked:
        answer = answers.get(asked["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
PY

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
claude=$(echo venv/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude)
mkdir home
converse() { # the schema of the tool, and what the model answers first
    python3 api.py "$2" >port & api=$!
    trap 'kill "$api"; rm -rf "$place"' EXIT
    until [ -s port ]; do :; done
    python3 - "$1" >servers.json <<'PY'
import json, sys
server = {"command": "python3", "args": ["tools.py", sys.argv[1]]}
print(json.dumps({"mcpServers": {"tools": server}}))
PY
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        "$claude" --print Hello --tools "" --setting-sources "" --model sonnet \
        --strict-mcp-config --mcp-config servers.json --allowedTools mcp__tools__keep \
        </dev/null >answer
}

converse '{"type": "object"}' '[{"type": "text", "text": "One."},
    {"type": "tool_use", "id": "toolu_1", "name": "mcp__tools__keep", "input": {}},
    {"type": "text", "text": "Two."},
    {"type": "tool_use", "id": "toolu_2", "name": "mcp__tools__keep", "input": {}}]'
python3 - <<'PY'
import json, sys
messages = json.loads(open("requests").readlines()[-1])["messages"]
said = next(m for m in messages if m["role"] == "assistant")["content"]
shown = [block.get("text") or block["id"] for block in said]
print("the model is shown", shown)
sys.exit(shown != ["One.", "Two.", "toolu_1", "toolu_2"])
PY
