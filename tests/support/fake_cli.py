"""A stand-in for the Claude CLI that fails as it is told by FAKE_CLI in its environment.

It answers control requests, and each user message after `initialize`. Tests make an executable of
it with `tests.support.claude_cli.fake_cli`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from typing import Any, NoReturn

MODE = os.environ.get("FAKE_CLI", "answer")
SESSION = next(
    (
        word.partition("=")[2]
        for word in sys.argv
        if word.startswith(("--session-id=", "--resume="))
    ),
    "00000000-0000-4000-8000-000000000000",
)
if MODE == "another_session":
    SESSION = "11111111-1111-4111-8111-111111111111"


def put(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def event(**event: Any) -> None:
    put({"type": "stream_event", "uuid": "e", "session_id": SESSION, "event": event})


def text(words: str) -> None:
    event(type="content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def begin() -> None:
    usage = {"input_tokens": 3, "output_tokens": 1}
    event(type="message_start", message={"id": "msg_1", "model": "claude-fake", "usage": usage})
    event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})


def write(entry: str) -> None:
    """Into the transcript, where one is kept."""
    if "--no-session-persistence" in sys.argv:
        return
    config = os.environ.get("CLAUDE_CONFIG_DIR") or f"{os.environ['HOME']}/.claude"
    folder = f"{config}/projects/{re.sub('[^a-zA-Z0-9]', '-', os.path.realpath(os.getcwd()))}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{SESSION}.jsonl", "a") as file:
        file.write(json.dumps({"parentUuid": None, "uuid": entry}) + "\n")


def end(words: str) -> None:
    write("answer")
    content = [{"type": "text", "text": words}]
    message = {"id": "msg_1", "model": "claude-fake", "content": content}
    put({"type": "assistant", "uuid": "answer", "session_id": SESSION, "message": message})
    event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    event(type="message_stop")
    result(num_turns=1, total_cost_usd=0.5)


def result(**fields: Any) -> None:
    base: dict[str, Any] = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "session_id": SESSION,
    }
    put(base | {"duration_ms": 1, "duration_api_ms": 1, "num_turns": 0} | fields)


def sleep() -> NoReturn:
    """A CLI that hangs hears no polite request to end either: it has to be killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def answer() -> None:  # noqa: C901  one mood after the other
    begin()
    text("Hello")
    match MODE:
        case "garbage":
            print('{"private words of the answer', flush=True)
            sleep()
        case "noise":
            print("[SandboxDebug] not JSON at all\n\n  \nnull", flush=True)
        case "exit_3" | "exit_0":
            sys.exit(int(MODE[-1]))
        case "hang":
            sleep()
        case "flood":
            while True:
                text("x" * 10_000)
        case "unknown":
            put({"type": "telepathy", "thought": 1})
            put({"type": "system", "subtype": "weather", "sky": "blue"})
            event(type="content_block_delta", index=0, delta={"type": "smell_delta"})
            event(type="content_block_delta", index=0)
            event(type="ping")
            event(kind="no type")
        case "endless_line":
            text("y" * 20_000_000)
            sleep()
        case "no_files":
            print("Error: EMFILE: too many open files, open 'x'", file=sys.stderr, flush=True)
            sys.exit(1)
        case "long_line":
            text("y" * 3_000_000)
        case "split":
            line = json.dumps({"type": "system", "subtype": "é€𝄞\u2028"}, ensure_ascii=False)
            for byte in f"{line}\r\n".encode():
                os.write(1, bytes([byte]))
    text(" there")
    end("Hello there")
    match MODE:
        case "stays":
            sleep()
        case "leaves_when_asked_again" | "breaks_off_when_asked_again":
            sys.stdin.readline()
            if MODE.startswith("breaks"):
                begin()
                text("Once upon")
            sys.exit(3)


def refuse() -> NoReturn:
    lost = [f"No conversation found with session ID: {SESSION}"]
    result(subtype="error_during_execution", is_error=True, errors=lost)
    sys.exit(1)


def takes_over(request: dict[str, Any]) -> bool:
    """An assistant's message is taken over in silence, a user's with an empty result."""
    if MODE == "loses_fed":
        refuse()
    fed = request.get("shouldQuery") is False and MODE != "answers_all"
    if fed or MODE == "empty":
        result()
    return fed or MODE == "empty" or request["type"] == "assistant"


def main() -> None:
    resumes = any(word.startswith("--resume=") for word in sys.argv)
    for line in sys.stdin:
        request = json.loads(line)
        if request["type"] == "control_request":
            if MODE == "mute":
                sleep()
            info = {"claude_code_version": "2.1.256" if MODE == "old" else "2.1.330"}
            ok = {"subtype": "success", "request_id": request["request_id"], "response": info}
            put({"type": "control_response", "response": ok})
            if request["request"]["subtype"] != "initialize":
                continue
            if MODE == "deaf":
                sleep()
            if MODE == "refuses" or (MODE == "refuses_resumes" and resumes):
                refuse()
        elif takes_over(request):
            pass
        elif MODE == "feeds_fail":
            result(num_turns=1)
        else:
            answer()


if __name__ == "__main__":
    main()
