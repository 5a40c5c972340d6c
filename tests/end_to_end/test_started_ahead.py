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
