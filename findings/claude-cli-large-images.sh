#!/usr/bin/env bash
# The Claude CLI makes an image smaller, as a JPEG, where it is in a message and has more than 512,000
# bytes, a tenth of what the API takes.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), a PNG of 608,000 bytes in a message on standard input:
#       the request has image/jpeg
#   and of 481,000 bytes:
#       the request has image/png, byte for byte
#
# Seen on 2026-11-29. The Messages API takes images of 5 MB. Exits with 1 if it changed.
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

show() { # how many pixels on a side, of noise
    python3 - "$1" >message <<'PY'
import base64, json, os, struct, sys, zlib
side = int(sys.argv[1])
rows = b"".join(b"\0" + os.urandom(side * 3) for _ in range(side))
parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
         (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
png = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in parts)
source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()}
content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
print(json.dumps({"type": "user", "message": {"role": "user", "content": content}}))
PY
    : >requests
    env -i PATH="$PATH" HOME="$place/home" ANTHROPIC_API_KEY=sk-ant-unused \
        ANTHROPIC_BASE_URL="http://127.0.0.1:$(cat port)" \
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        "$claude" --print --verbose --input-format stream-json --output-format stream-json \
        --tools "" --setting-sources "" --model sonnet <message >answer
    python3 - <<'PY'
import json
sent = json.loads(open("message").readline())["message"]["content"][0]["source"]
messages = json.loads(open("requests").readline())["messages"]
[got] = [block["source"] for message in messages for block in message["content"]
         if isinstance(block, dict) and block["type"] == "image"]
print(got["media_type"], "the same" if got["data"] == sent["data"] else "another")
PY
}
large=$(show 450)
small=$(show 400)
echo "450 x 450: $large; 400 x 400: $small"
[ "$large, $small" = "image/jpeg another, image/png the same" ]
