#!/usr/bin/env bash
# The stream helpers of the official OpenAI clients cannot read a Chat Completions stream in which
# the model calls a `custom` tool, though both clients can offer such a tool and read the same call
# from a document.
#
#   openai 3.57.0 (Python), chat.completions.stream():  AttributeError: 'dict' object has no
#       attribute 'name', raised while the stream is read
#   openai 6.34.0 (Node), chat.completions.stream():    "missing choices[0].tool_calls[0].function.name"
#   openai 7.59.0 (Node), the same code:                the call is read
#
# Seen on 2026-11-29. A bridge that streams such calls reaches these clients only through the plain
# `create(stream=True)`, which gives out the chunks as they are. Exits with 1 if any of it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >server.py <<'PY'
import http.server, json, sys
class Api(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        custom = {"name": "patch", "input": "*** Begin Patch"}
        call = {"index": 0, "id": "call_1", "type": "custom", "custom": custom}
        for delta, reason in (({"role": "assistant", "content": ""}, None),
                              ({"tool_calls": [call]}, None), ({}, "tool_calls")):
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                     "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
server = http.server.HTTPServer(("127.0.0.1", 0), Api)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 server.py >port & server=$!
trap 'kill "$server"; rm -rf "$place"' EXIT
until [ -s port ]; do :; done
export URL="http://127.0.0.1:$(cat port)/v1"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openai==3.57.0
cat >ask.py <<'PY'
import os, openai
client = openai.OpenAI(api_key="unused", base_url=os.environ["URL"], max_retries=0)
asked = dict(model="m", messages=[{"role": "user", "content": "x"}],
             tools=[{"type": "custom", "custom": {"name": "patch"}}])
try:
    with client.chat.completions.stream(**asked) as stream:
        print("read:", stream.get_final_completion().choices[0].message.tool_calls)
except AttributeError as error:
    print("AttributeError:", error)
PY
cat >ask.mjs <<'JS'
import OpenAI from 'openai';
const client = new OpenAI({apiKey: 'unused', baseURL: process.env.URL, maxRetries: 0});
try {
  const stream = client.chat.completions.stream({model: 'm', messages: [{role: 'user', content: 'x'}],
    tools: [{type: 'custom', custom: {name: 'patch'}}]});
  const done = await stream.finalChatCompletion();
  console.log('read:', JSON.stringify(done.choices[0].message.tool_calls));
} catch (error) {
  console.log(error.message.split('\n')[0]);
}
JS
changed=0
expect() { # what was seen, what is expected
    echo "$1"
    [[ "$1" == $2 ]] || { echo "  changed; expected $2"; changed=1; }
}
expect "Python 3.57.0: $(venv/bin/python ask.py)" "*AttributeError: 'dict' object has no attribute 'name'"
for version in 6.34.0 7.59.0; do
    npm install --silent --no-audit --no-fund --prefix "node-$version" "openai@$version" >/dev/null
    cp ask.mjs "node-$version/"
    case $version in
        6.34.0) wanted="*missing choices?0?.tool_calls?0?.function.name" ;;
        *) wanted='*read: *"input":"[*][*][*] Begin Patch"*' ;;
    esac
    expect "Node $version: $(node "node-$version/ask.mjs")" "$wanted"
done
exit "$changed"
