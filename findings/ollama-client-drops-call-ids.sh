#!/usr/bin/env bash
# Ollama's API gives a call an id, and a result names the call's by `tool_call_id`. Its own client for
# Python keeps the id of neither: what it has read it does not send back when the message is put into the
# history, as its examples do.
#
#   ollama 0.6.3, a server that answers with two calls of one tool, with the ids a and b:
#       the next request holds both calls without any id
#
# Seen on 2026-11-30. Two calls of one tool at once can be told apart by their order alone. Exits with 1
# if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >talk.py <<'PY'
import http.server, json, threading
import ollama
seen = []
CALLS = [{"id": id_, "function": {"name": "look", "arguments": {"at": id_}}} for id_ in "ab"]
class Server(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": "", "tool_calls": CALLS}
        answer = json.dumps({"model": "any", "message": message, "done": True}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = ollama.Client(f"http://127.0.0.1:{server.server_port}")
history = [{"role": "user", "content": "Look at both."}]
history.append(client.chat("any", history).message)
client.chat("any", history)
calls = seen[1]["messages"][1]["tool_calls"]
print(f"sent back: {json.dumps(calls)}")
assert [call["function"]["arguments"]["at"] for call in calls] == ["a", "b"]
raise SystemExit(any("id" in call for call in calls))
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ollama==0.6.3
venv/bin/python talk.py
