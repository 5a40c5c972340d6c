#!/usr/bin/env bash
# A conversation that the Claude CLI goes on with in another working directory than before (its transcript was moved
# there, as a copy of a home on another machine has it) has one message more for the model than was said in it, of the
# CLI's own, about what has changed around it, with both paths. A resume in the same directory has none. Who keeps
# transcripts for several machines has to have the same path on each.
#
#   Claude CLI 2.1.332 (claude-agent-sdk 0.2.189), by login (ANTHROPIC_AUTH_TOKEN), two turns:
#       both in one directory       the model is shown what was said
#       the second in another       and a system message, "# Environment update" with "Primary working directory:
#                                   <new> (was <old>)"; claude-opus-4-5 has it in the user's own message
#   With --bare (an API key) there is none in either case.
#
# Seen on 2026-11-30. Exits with 1 if it changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

cat >ask.py <<'PY'
import asyncio, http.server, json, pathlib, shutil, sys, threading
from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, project_key_for_directory, query

asked = []
SESSION = "7f0e1ad4-52b5-4c38-9d0f-3a1b61c9a001"

def events(text):
    usage = {"input_tokens": 1, "output_tokens": 1}
    yield "message_start", {"message": {"id": f"msg_{len(asked)}", "type": "message", "role": "assistant",
                            "content": [], "model": "claude-opus-5", "stop_reason": None,
                            "stop_sequence": None, "usage": usage}}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
    yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield "message_stop", {}

class Api(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "/v1/messages" not in self.path or "count_tokens" in self.path:
            self.send_error(404)
            return
        asked.append(body)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for name, data in events("Yes."):
            self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())

async def turn(port, cwd, words, how, **session):
    env = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
           "ANTHROPIC_API_KEY" if how == "bare" else "ANTHROPIC_AUTH_TOKEN": "unused"}
    extra = {"bare": None} if how == "bare" else {}
    options = ClaudeAgentOptions(cwd=cwd, model="claude-opus-5", tools=[], setting_sources=[], env=env,
                                 system_prompt="Be brief.", extra_args=extra, **session)
    async for message in query(prompt=words, options=options):
        if isinstance(message, ResultMessage) and message.is_error:
            sys.exit(f"failed: {message.result}")

async def told(port, how, first, second):
    """The roles of those messages in the second request that name a change of directory."""
    shutil.rmtree(pathlib.Path.home() / ".claude", ignore_errors=True)
    for cwd in (first, second):
        pathlib.Path(cwd).mkdir(exist_ok=True)
    await turn(port, first, "One", how, session_id=SESSION)
    projects = pathlib.Path.home() / ".claude" / "projects"
    if first != second:
        there = projects / project_key_for_directory(second)
        there.mkdir(parents=True)
        shutil.move(projects / project_key_for_directory(first) / f"{SESSION}.jsonl", there)
    await turn(port, second, "Two", how, resume=SESSION)
    messages = [m for m in asked[-1]["messages"] if "working directory" in json.dumps(m)]
    return [m["role"] for m in messages if f"(was {first})" in json.dumps(m)]

async def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = str(pathlib.Path.cwd())
    found = {}
    for how in ("login", "bare"):
        found[how] = (await told(server.server_port, how, f"{here}/a", f"{here}/a"),
                      await told(server.server_port, how, f"{here}/a", f"{here}/b"))
        print(f"{how}: same directory {found[how][0]}, another {found[how][1]}")
    sys.exit(found != {"login": ([], ["system"]), "bare": ([], [])})

asyncio.run(main())
PY
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check claude-agent-sdk==0.2.189
mkdir home
env -i PATH="$PATH" HOME="$place/home" venv/bin/python ask.py
