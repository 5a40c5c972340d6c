#!/usr/bin/env bash
# With `--bare` the Claude CLI tells the model the first paragraph of an MCP tool's description alone,
# unless that is empty: then it tells all of it. What stands after a blank line is gone without a word.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), a tool described as "Pours.\n\nNever hot milk.":
#       without --bare the model is told  "Pours.\n\nNever hot milk."
#       with --bare                       "Pours."
#       with --bare, and "\n\n" before it "\n\nPours.\n\nNever hot milk."
#
# Seen on 2026-11-29; the help of `--bare` speaks of hooks, memory and the like. Exits with 1 if it
# changed.
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
ask() { # asks once with these arguments; the requests are in the file of that name
    : >requests
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        "$claude" --print Hello --tools "" --setting-sources "" "$@" </dev/null >answer
}

cat >tools.py <<'PY'
import json, sys
tools = json.loads(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "tools", "version": "1"}},
        "tools/list": {"tools": tools},
    }
    if "id" in asked:
        answer = answers.get(asked["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
PY
offer() { # gives the CLI an MCP server with these tools, and further arguments
    python3 - "$1" >servers.json <<'PY'
import json, sys
server = {"command": "python3", "args": ["tools.py", sys.argv[1]]}
print(json.dumps({"mcpServers": {"tools": server}}))
PY
    ask --model sonnet --strict-mcp-config --mcp-config servers.json "${@:2}"
    python3 - <<'PY' >>told
import json
tools = json.loads(open("requests").readline())["tools"]
print(json.dumps(next(t["description"] for t in tools if t["name"] == "mcp__tools__pour")))
PY
}

tool='[{"name": "pour", "description": "Pours.\n\nNever hot milk.", "inputSchema": {"type": "object"}}]'
offer "$tool"
offer "$tool" --bare
offer "${tool/Pours/\\n\\nPours}" --bare
cat told
python3 - <<'PY'
import json, sys
told = [json.loads(line) for line in open("told")]
whole = "Pours.\n\nNever hot milk."
sys.exit(told != [whole, "Pours.", f"\n\n{whole}"])
PY
