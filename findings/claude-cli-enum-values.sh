#!/usr/bin/env bash
# The Claude CLI changes the values that an MCP tool allows. It normalises all text of a schema
# (NFKC) and takes format characters out, `enum` and `const` included, so the model is offered, and
# gives, values that the tool does not know.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), a tool with {"enum": ["\u00bd cup", "100\u00a0g", "5\u2033"]}:
#       the model is shown ["1\u20442 cup", "100 g", "5\u2032\u2032"]
#
# Seen on 2026-11-29. Whoever checks the input of such a tool by its own schema refuses every call.
# Exits with 1 if it changed.
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
offer() { # gives the CLI an MCP server with these tools
    python3 - "$1" >servers.json <<'PY'
import json, sys
server = {"command": "python3", "args": ["tools.py", sys.argv[1]]}
print(json.dumps({"mcpServers": {"tools": server}}))
PY
    ask --model sonnet --strict-mcp-config --mcp-config servers.json
}

offer '[{"name": "pour", "description": "Pours.", "inputSchema": {"type": "object",
    "properties": {"size": {"enum": ["\u00bd cup", "100\u00a0g", "5\u2033"]}}}}]'
python3 - <<'PY'
import json, sys
tools = json.loads(open("requests").readline())["tools"]
tool = next(tool for tool in tools if tool["name"] == "mcp__tools__pour")
shown = tool["input_schema"]["properties"]["size"]["enum"]
print("the model is shown", ascii(shown))
sys.exit(shown != ["1\u20442 cup", "100 g", "5\u2032\u2032"])
PY
