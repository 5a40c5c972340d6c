"""The files of conversations that clients create."""

from __future__ import annotations

import gc
import stat
from pathlib import Path

import pytest

from sessionbridge.claude.transcript import conversations
from sessionbridge.claude.transcript.conversations import Added, Conversation
from sessionbridge.claude.transcript.files import delete

ONE, TWO, THREE = ({"id": name} for name in ("one", "two", "three"))
EMPTY = Conversation(5.0, "ann", {"a": "b"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = conversations.place(tmp_path, "conv_1")
    conversations.write(made, EMPTY)
    return made


def test_it_is_read_as_it_was_written(path: Path) -> None:
    assert conversations.read(path) == EMPTY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    added = (Added(None, [ONE]), Added(None, [TWO], "t1"), Added("t1", [THREE]))
    for one in added:
        conversations.add(path, one)
    found = conversations.read(path)
    assert found is not None
    assert found.added == added
    conversations.write(path, found)
    assert conversations.read(path) == found


def test_a_line_that_was_cut_short_is_passed_over(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"after": null, "items": [{"id": "lo')
    conversations.add(path, Added(None, [ONE]))
    found = conversations.read(path)
    assert found is not None
    assert found.items(None) == [ONE]


def test_its_head_is_read_alone(path: Path) -> None:
    conversations.add(path, Added(None, [ONE]))
    assert conversations.head(path) == EMPTY
    path.write_bytes(b"no line of ours\n" + path.read_bytes())
    assert conversations.head(path) == EMPTY
    path.write_bytes(b"no line of ours\n")
    assert (conversations.head(path), conversations.read(path)) == (None, None)
    path.unlink()
    assert conversations.head(path) is None


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_deleted_leaves_the_memory(path: Path, whole: bool) -> None:
    conversations.add(path, Added(None, [{"id": "secret", "place": str(path)}]))
    conversations.read(path)
    if whole:
        delete(path.with_suffix(".jsonl"))
        assert not path.exists()
    else:
        conversations.write(path, EMPTY)
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, Added)]
    assert not [one for one in held if {"id": "secret", "place": str(path)} in one.items]


def test_one_that_was_deleted_is_not_made_anew(path: Path) -> None:
    path.unlink()
    assert conversations.read(path) is None
    with pytest.raises(FileNotFoundError):
        conversations.add(path, Added(None, [ONE]))
    assert not path.exists()


def test_its_items_are_those_of_the_line_that_leads_to_its_end() -> None:
    given = Added(None, [ONE]), Added("t1", [TWO])
    turns = Added(None, [{"id": "q1"}], "t1"), Added(None, [{"id": "again"}], "t2")
    held = Conversation(5.0, "", {}, (given[0], turns[0], given[1], turns[1], Added("t2", [THREE])))
    assert held.items("t1") == [ONE, {"id": "q1"}, TWO]
    assert held.items("t2") == [ONE, {"id": "again"}, THREE]
    assert (held.since(None), held.since("t1")) == ([ONE], [TWO])
    assert held.turns == ["t2", "t1"]


def test_turns_that_follow_each_other_in_a_circle() -> None:
    circle = Added("t2", [ONE], "t1"), Added("t1", [TWO], "t2")
    assert Conversation(5.0, "", {}, circle).items("t2") == [ONE, TWO]
