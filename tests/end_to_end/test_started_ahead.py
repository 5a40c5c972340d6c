"""Processes that are there before anybody asks: the very first turn has one, whatever it asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, user

TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
NAMED: dict[str, Any] = {"x-openclaw-session": "chat-1"}


def test_the_first_turn_is_answered_by_one_and_its_settings_are_noted(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url, options={"spare": "2"}) as proxy:
        wait_for(lambda: len(proxy.children()) == 2 or None, "two processes")
        client = proxy.anthropic(NAMED)
        how: dict[str, Any] = {"system": "Be brief.", "tools": [TOOL], "model": "sonnet"}
        history = [user("My name is Ann")]
        for max_tokens in (100, 200):
            answer = client.messages.create(messages=history, max_tokens=max_tokens, **how)
            history += [{"role": "assistant", "content": answer.content[0].text}, user("Who am I?")]
        notes = [flow["metadata"] for flow in proxy.bridged("chat-1", 2)]
        assert [note["process"] for note in notes] == ["spare", "live"]
        assert set(notes[0]["told"]) == {"model", "system", "tools", "max_tokens"}
        assert notes[1]["told"] == ["max_tokens"]
        assert all(note["told_ms"] > 0 for note in notes)


@pytest.mark.parametrize("spare", ["0", "1"])
def test_as_many_are_started_as_are_wanted(tmp_path: Path, api: ScriptedServer, spare: str) -> None:
    with running_proxy(tmp_path, api.url, options={"spare": spare}) as proxy:
        client = proxy.anthropic(NAMED)
        client.messages.create(
            messages=[user("Hi")], max_tokens=9, model="sonnet"
        )  # by then it has begun to start what it starts
        assert len(proxy.children()) >= 1
        wait_for(lambda: len(proxy.children()) == 1 + int(spare) or None, "the others")


def test_a_session_that_goes_on_has_its_process_when_it_was_announced(
    tmp_path: Path, api: ScriptedServer
) -> None:
    how: dict[str, Any] = {"system": "Be brief.", "tools": [TOOL], "model": "sonnet"}
    history = [user("(announced) My name is Ann")]
    with running_proxy(tmp_path, api.url) as proxy:
        answer = proxy.anthropic(NAMED).messages.create(messages=history, max_tokens=100, **how)
        history += [{"role": "assistant", "content": answer.content[0].text}]
    calls = len(api.calls)
    with running_proxy(tmp_path, api.url) as proxy:
        client = proxy.anthropic(NAMED)
        warm = client.messages.create(messages=[*history, user("?")], max_tokens=0, **how)
        assert (warm.content, warm.stop_reason) == ([], "max_tokens")
        assert (warm.usage.input_tokens, warm.usage.output_tokens) == (0, 0)
        assert len(proxy.children()) == 1
        assert len(api.calls) == calls
        again = client.messages.create(messages=[*history, user("?")], max_tokens=0, **how)
        assert again.id != warm.id
        answer = client.messages.create(
            messages=[*history, user("(announced) Who am I?")], max_tokens=200, **how
        )
        assert answer.content[0].text == "Your name is Ann."
        notes = [flow["metadata"] for flow in proxy.bridged("chat-1", 4)]
        assert [note.get("process") for note in notes] == ["new", None, None, "live"]
        assert [note.get("turn") for note in notes] == [1, None, None, 2]
        assert notes[3]["told"] == ["max_tokens"]
        assert len(proxy.children()) == 1
    assert [len(seen) for seen in api.seen("(announced)")] == [1, 3]
