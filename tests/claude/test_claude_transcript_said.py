"""What was said in a session, read from its transcript."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.transcript.files import has_entry, said
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import SessionLost
from sessionbridge.model import Message
from sessionbridge.sessions.planning.lineage import chain
from tests.support.claude_cli import USAGE, Stage, answer, say, until
from tests.support.live_processes import serving, stage
from tests.support.tool_rounds import calling, found, offering, plain, returning, text, use

__all__ = ["stage"]

DONE = Reply(("Done.",), USAGE)


def entry(uuid: str, parent: str | None, role: str, content: Any, **fields: Any) -> dict[str, Any]:
    message = {"role": role, "content": content, **fields.pop("message", {})}
    return {"uuid": uuid, "parentUuid": parent, "type": role, "message": message, **fields}


def written(tmp_path: Path, *entries: dict[str, Any] | str) -> Path:
    path = tmp_path / "session.jsonl"
    lines = [line if isinstance(line, str) else json.dumps(line) for line in entries]
    path.write_text("\n".join(lines))
    return path


HELLO = entry("1", None, "user", "Hello")
HI = entry("2", "1", "assistant", [text("Hi")])
MORE = [entry("3", "2", "user", [text("And?")]), entry("4", "3", "assistant", [text("So")])]


def words(messages: Sequence[Message]) -> list[str]:
    return [block["text"] for message in messages for block in message.blocks]


def test_all_up_to_an_entry_and_after_another(tmp_path: Path) -> None:
    noise = {"type": "cost-state", "totalCostUSD": 1}
    meta = entry("m", "2", "user", "hidden", isMeta=True)
    aside = entry("x", "2", "user", "another branch")
    path = written(tmp_path, HELLO, noise, HI, meta, aside, *MORE, "not JSON", "[]", '{"uuid": "7')
    assert words(said(path, "4", None)) == ["Hello", "Hi", "And?", "So"]
    assert words(said(path, "4", "2")) == ["And?", "So"]
    assert words(said(path, "2", None)) == ["Hello", "Hi"]
    assert said(path, "4", "4") == ()
    assert [message.role for message in said(path, "2", None)] == ["user", "assistant"]


def test_what_is_not_all_there_is_lost(tmp_path: Path) -> None:
    with pytest.raises(SessionLost):
        said(tmp_path / "none.jsonl", "2", None)
    path = written(tmp_path, HI, *MORE)
    for upto, after in (("4", None), ("9", None), ("4", "9")):
        with pytest.raises(SessionLost):
            said(path, upto, after)
    assert words(said(path, "4", "2")) == ["And?", "So"]


async def test_tool_rounds_are_told_as_the_model_saw_them(stage: Stage) -> None:
    """Also where a turn still waits, and where several calls were made at once."""
    first = (use("t1"), use("t2", "other"), use("t3"))
    results = (found("t1", "one"), found("t2", [text("two")]), found("t3", "no", is_error=True))
    second = (text("Again"), use("t4"), use("t5"))
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [DONE, calling(*first), calling(*second), DONE]
        zero = await answer(dispatcher, offering("Hello"))
        one = await answer(dispatcher, offering("Look", name="resume", after=zero))
        talk = [say("Hello"), say("Done.", "assistant"), say("Look"), Message("assistant", first)]
        assert await told(stage, one.tip, None) == links_of(talk)
        assert await told(stage, one.tip, zero.tip) == links_of(talk[2:])

        two = await answer(dispatcher, returning(one, *results))
        talk += [Message("user", results), Message("assistant", second)]
        assert await told(stage, two.tip, None) == links_of(talk)
        assert await told(stage, two.tip, zero.tip) == links_of(talk[2:])
        assert await told(stage, one.tip, zero.tip) == links_of(talk[2:4])

        last = (found("t5", "five"), found("t4", "four"))
        three = await answer(dispatcher, returning(two, *last))
        talk += [Message("user", last), say("Done.", "assistant")]
        assert await told(stage, three.tip, None) == links_of(talk)
        assert await told(stage, three.tip, zero.tip) == links_of(talk[2:])


async def told(stage: Stage, upto: str, after: str | None) -> Any:
    (path,) = stage.profile.transcript("x").parent.glob("*.jsonl")
    await until(lambda: has_entry(path, upto))  # the CLI writes a little later than it speaks
    return links_of(said(path, upto, after))


def links_of(talk: Sequence[Message]) -> Any:
    """Neighbours of one role as one message, results in one way to write them."""
    return [
        (link.message.role, [block for _, block in plain(("", b) for b in link.message.blocks)])
        for link in chain(talk)
    ]
