#!/usr/bin/env bash
# What `get_context_usage` of the Claude SDK (the CLI's /context) tells is put together of several counts, of the
# system prompt as if a user had said it, and of each kind of part by itself. Where the API does not count
# (`count_tokens` is not there, as behind many gateways), the CLI guesses from the number of characters instead, and
# nothing in the result says that it is a guess.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), --bare, a system prompt of 20,000 times "a":
#       count_tokens answers 7      System prompt: 7 tokens, counted as a message of the user's
#       count_tokens is a 404       System prompt: 6667 tokens, a third of its characters
#
# Seen on 2026-11-30. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >ask.py <<'PY'
import asyncio, http.server, json, sys, threading
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

counted = []

class Api(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "count_tokens" not in self.path or sys.argv[1] == "no":
            self.send_error(404)
            return
        counted.append(body)
        answer = json.dumps({"input_tokens": 7}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

async def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {"ANTHROPIC_API_KEY": "sk-ant-unused", "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.server_port}",
           "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    options = ClaudeAgentOptions(system_prompt="a" * 20000, tools=[], setting_sources=[], env=env,
                                 extra_args={"bare": None})
    async with ClaudeSDKClient(options) as client:
        told = await client.get_context_usage()
    prompt = [part["tokens"] for part in told["categories"] if part["name"] == "System prompt"]
    as_said = any("a" * 20000 in json.dumps(body["messages"]) and "system" not in body for body in counted)
    print("counted by the API:" if counted else "not counted:", prompt, "as a user's words" if as_said else "")
    sys.exit(prompt != ([7] if counted else [6667]) or (bool(counted) and not as_said))

asyncio.run(main())
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
mkdir home
for counts in yes no; do
    env -i PATH="$PATH" HOME="$place/home" venv/bin/python ask.py "$counts"
done
