"""Every captured request gives the origin its program has, the same in both turns."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import History, Origin
from sessionbridge.sessions.origins.table import Origins

CAPTURED = Path(__file__).parent.parent / "captured"

EXPECTED: dict[str, tuple[str, str] | None] = {
    "cline-anthropic": None,
    "cline-chat": None,
    "continue-anthropic": None,
    "copilot-anthropic": None,
    "copilot-chat": None,
    "codex-responses": ("codex", "01a2010f-0c4d-7cd3-8d39-75c3a315fa07"),
    "kilo-anthropic": ("kilo", "ses_dd8df595dffemaz1DAzY4J0k6T"),
    "kilo-chat": ("kilo", "ses_dd8be14bbffef0gl4eR7KLVC2M"),
    "kimi-anthropic": ("kimi", "session_5a80b817-6ad5-4b96-9da3-0396f9cbfc8c"),
    "kimi-chat": ("kimi", "session_1ebd59ae-6f6b-4a27-b02b-90ed1840285f"),
    "llm-anthropic": None,
    "llm-chat": None,
    "llm-responses": None,
    "ollama-python": None,
    "open-webui-chat-header": ("generic", "282f1bbf-e385-4879-96cf-3ff2e587ee83"),
    "openclaw-anthropic": None,
    "openclaw-chat-affinity": ("openclaw", "sess-d3568125dd79:0"),
    "openclaw-chat": ("openclaw", "sess-a466cdbdac9a"),
    "openclaw-responses": None,
    "openhands-anthropic": None,
    "opencode-anthropic": ("opencode", "ses_dfef1b076ffe99JUqK5xl6i0aX"),
    "opencode-chat": ("opencode", "ses_dfef16c59ffevOJB2IHJt0A3cj"),
    "opencode-responses": ("opencode", "ses_dfef125abffepD64twtbLr1j5w"),
    "pysdk-langchain-anthropic": None,
    "pysdk-langchain-openai": None,
    "pysdk-langchain-responses": None,
    "qwen-chat": None,
}
"""None for `openclaw-anthropic` and `-responses`: the texts of the recordings are abridged, and the
line that names the conversation was in the part cut away. See `with_runtime_line`."""

OWN_TITLES = {"kilo-chat"}
"""Recordings whose last request is a title call with an id of its own."""

ORIGINS = Origins.default()


def captured(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CAPTURED / f"{name}.json").read_text("utf-8"))
    return loaded


def requests(name: str) -> list[dict[str, Any]]:
    recording = captured(name)
    turns = [recording[turn] for turn in ("turn_1", "turn_2") if turn in recording]
    return [*turns, *recording.get("side_calls", [])]


def detect(request: dict[str, Any]) -> Origin | None:
    headers = {name.lower(): value for name, value in request["headers"]}
    return ORIGINS.detect(headers, request["body"])


def test_every_recording_is_expected() -> None:
    assert {path.stem for path in CAPTURED.glob("*.json")} == set(EXPECTED)


@pytest.mark.acceptance(9)
@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_turns_and_side_calls_of_a_program_have_one_origin(
    name: str, expected: tuple[str, str] | None
) -> None:
    history: History = "learn" if expected and expected[0] == "generic" else "client"
    origin = expected and Origin(*expected, kind="conversation", history=history)
    found = [detect(request) for request in requests(name)]
    if name in OWN_TITLES and origin is not None:
        title = replace(origin, external_id=f"title-{origin.external_id}")
        assert found.pop() == title
    assert found == [origin] * len(found)


def runtime_line() -> str:
    """The line as OpenClaw wrote it on Chat, where the recording has it whole."""
    first_user = captured("openclaw-chat")["turn_1"]["body"]["messages"][1]["content"]
    (line,) = (line for line in first_user.splitlines() if line.startswith("Runtime: "))
    return str(line)


def with_runtime_line(request: dict[str, Any]) -> dict[str, Any]:
    """The request with the line put back into its abridged system prompt."""
    request = copy.deepcopy(request)
    body = request["body"]
    blocks = body["system"] if "system" in body else body["input"][0]["content"]
    blocks[0]["text"] += "\n" + runtime_line() + "\n"
    return request


@pytest.mark.parametrize("name", ["openclaw-anthropic", "openclaw-responses"])
def test_openclaws_line_counts_in_the_system_prompt(name: str) -> None:
    expected = Origin("openclaw", "sess-a466cdbdac9a", "conversation", "client")
    for request in requests(name):
        assert detect(with_runtime_line(request)) == expected


def test_openclaws_line_does_not_count_in_a_later_message() -> None:
    for request in requests("openclaw-responses"):
        request["body"]["input"].append({"role": "user", "content": runtime_line()})
        assert detect(request) is None


def test_another_programs_request_with_openclaws_line_stays_its_own() -> None:
    for request in requests("llm-chat"):
        request["body"]["messages"][0]["content"] += "\n" + runtime_line()
        assert detect(request) is None


def test_a_header_set_by_configuration_wins_over_openclaws_line() -> None:
    for request in requests("openclaw-chat"):
        request["headers"].append(["X-OpenClaw-Session", "chosen"])
        assert detect(request) == Origin("openclaw", "chosen", "conversation", "learn")


def test_conversations_of_one_program_differ() -> None:
    names = ["openclaw-chat", "openclaw-chat-affinity", "opencode-chat", "opencode-anthropic"]
    assert len({detect(requests(name)[0]) for name in names}) == len(names)
