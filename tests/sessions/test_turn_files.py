"""The database is made anew from what is noted beside the transcripts."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionbridge.claude.transcript import files
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.turn_files import TurnFiles
from tests.sessions.test_quarantine import checkpoint, overwrite
from tests.support.turn_records import KEY, turn


class Home:
    """A database, the folder of the transcripts, and a clock that jumps to and fro."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home" / "session_map.db"
        self.transcripts = folder / "projects" / "ours"
        self._times = cycle([1_000_000.0, 2_000_000.0, 500_000.0])

    def clock(self) -> float:
        return next(self._times)

    @contextmanager
    def store(self, *, beside: bool = True) -> Iterator[SessionStore]:
        folder = self.transcripts if beside else None
        opened = SessionStore.open(self.path, transcripts=folder, clock=self.clock)
        with closing(opened) as store:
            yield store

    def lose(self) -> None:
        for file in self.path.parent.glob("session_map.db*"):
            file.unlink()

    def tables(self) -> dict[str, list[Any]]:
        with closing(sqlite3.connect(self.path)) as db:
            return {
                name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4, 5, 6").fetchall()
                for name in ("session_map", "turns", "points")
            }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def nth(number: int, **changes: Any) -> Any:
    """The end of a turn is a point of its own."""
    ends = {"history_hash": f"h{number}", "tip_uuid": f"t{number}", "response_id": f"r{number}"}
    return turn(**{**ends, "points": ((f"h{number}", f"t{number}"),), **changes})


CHANGES = st.fixed_dictionaries(
    {
        "key": st.sampled_from([KEY, SessionKey("slack", "C1/ü", "claude")]),
        "internal_id": st.sampled_from(["s1", "s2", "s3"]),
        "plan": st.sampled_from(["fresh", "resume", "fork"]),
        "reason": st.sampled_from(["first_turn", "continued", "started_over", "tool_results"]),
        "status": st.sampled_from(["end_turn", "tool_use"]),
        "settings_hash": st.sampled_from([None, "x", "y"]),
        "may_be_aside": st.booleans(),
        "cost_usd": st.sampled_from([None, 0.1]),
        "metadata": st.dictionaries(st.sampled_from(["kind", "ü"]), st.text(max_size=3)),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CHANGES, st.integers(0, 5)), min_size=1, max_size=8))
def test_it_is_as_it_was(tmp_path_factory: Any, turns: list[tuple[dict[str, Any], int]]) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    with home.store() as store:
        ids: list[int | None] = [None]
        for number, (changes, back) in enumerate(turns):
            parent = ids[back % len(ids)]
            ids.append(store.commit(nth(number, parent_id=parent, **changes)))
    before = home.tables()
    home.lose()
    with home.store():
        assert home.tables() == before


@pytest.mark.parametrize("fault", ["deleted", "corrupt"])
def test_it_is_lost_while_it_is_used(home: Home, fault: str, caplog: Any) -> None:
    with home.store() as store:
        first = store.commit(nth(1))
        before = home.tables()
        if fault == "deleted":
            home.lose()
        else:
            checkpoint(home.path)
            overwrite(home.path)
        with caplog.at_level(logging.WARNING):
            found = store.lineage(KEY, ["h1"])
        assert [point.turn_id for point in found.points] == [first]
        assert home.tables() == before
        assert store.commit(nth(2, parent_id=first)) == first + 1
    assert "1 turns of 1 conversations are known again" in caplog.text


def test_a_turn_that_was_under_way_follows_the_one_it_was_planned_after(home: Home) -> None:
    with home.store() as store:
        store.commit(nth(1, internal_id="gone"))
        second = store.commit(nth(2, internal_id="s2"))
        files.delete(home.transcripts / "gone.jsonl")
        home.lose()
        third = store.commit(nth(3, internal_id="s2", parent_id=second))
        (one, two) = store.turns(KEY)
    assert (one.id, two.id, two.parent_id) == (second, third, second)
    assert one.response_id == "r2"


def test_what_has_gone_on_since_stays_as_it_is(home: Home) -> None:
    with home.store() as store:
        store.commit(nth(1))
        store.commit(nth(2))
        home.lose()
    with home.store(beside=False) as store:
        store.commit(nth(9, internal_id="new"))
        before = home.tables()
        assert store.recover(TurnFiles(home.transcripts).read()).turns == 0
        assert home.tables() == before


def test_the_ids_of_responses_may_repeat(home: Home) -> None:
    """They are those of whatever answers in the place of the API."""
    other = SessionKey("slack", "C1", "claude")
    with home.store() as store:
        first = store.commit(nth(1, response_id="msg_1"))
        own = store.commit(nth(2, key=other, internal_id="s2", response_id="msg_1"))
        store.commit(nth(3, key=other, internal_id="s2", response_id="msg_2", parent_id=own))
        before = home.tables()
        home.lose()
    with home.store() as store:
        assert home.tables() == before
        assert [turn.parent_id for turn in store.turns(other)] == [None, own]
        assert [turn.id for turn in store.turns(KEY)] == [first]


def test_a_turn_never_follows_one_of_another_key(home: Home) -> None:
    """Its number may be that of somebody else's by the time it is committed."""
    other = SessionKey("slack", "C1", "claude")
    with home.store() as store:
        theirs = store.commit(nth(1, key=other, internal_id="s1"))
        store.commit(nth(2, internal_id="s2", parent_id=theirs))
        (turn,) = store.turns(KEY)
        assert turn.parent_id is None
        assert store.lineage(KEY, []).before is None


def test_a_turn_is_known_that_was_noted_while_others_made_the_database_anew(home: Home) -> None:
    with home.store() as store, home.store() as beside:
        store.commit(nth(1))
        add = TurnFiles.add

        def lost_meanwhile(files: TurnFiles, turn: Any) -> None:
            home.lose()
            assert [one.response_id for one in beside.turns(KEY)] == ["r1"]
            add(files, turn)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TurnFiles, "add", lost_meanwhile)
            store.commit(nth(2))
        assert [one.response_id for one in beside.turns(KEY)] == ["r1", "r2"]


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.store() as store:
        store.commit(nth(1))
    home.lose()

    def refused(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.listdir", refused)
    with pytest.raises(StoreUnavailable, match="cannot be read"), home.store():
        pass


def test_turns_that_are_there_are_not_recovered_twice(home: Home) -> None:
    with home.store() as store:
        store.commit(nth(1))
        home.lose()
    with home.store(beside=False) as store:
        other = store.commit(nth(7, key=SessionKey("slack", "C2", "claude"), internal_id="s7"))
        turns = TurnFiles(home.transcripts).read()
        found = store.recover(turns)
        assert (found.turns, found.conversations) == (1, 1)
        (again,) = store.turns(KEY)
        assert again.id != other and again.response_id == "r1"
        assert store.recover(turns).turns == 0


def test_a_forgotten_conversation_stays_forgotten(home: Home) -> None:
    with home.store() as store:
        store.commit(nth(1))
        store.delete(KEY)
    files.delete(home.transcripts / "session-1.jsonl")
    home.lose()
    with home.store() as store:
        assert store.count() == 0
    assert list(home.transcripts.iterdir()) == []


def test_what_is_no_turn_is_passed_over(home: Home, caplog: Any) -> None:
    with home.store() as store:
        store.commit(nth(1))
        file = home.transcripts / "session-1.turns"
        whole = file.read_bytes()
        file.write_bytes(whole + whole[: len(whole) // 2])
        store.commit(nth(2))
    home.lose()
    with home.store() as store:
        assert [one.response_id for one in store.turns(KEY)] == ["r1", "r2"]
    assert f"A line of {file} is no turn" in caplog.text


def test_the_files_hold_no_more_than_the_database_and_are_their_owner_s(home: Home) -> None:
    umask = os.umask(0)
    try:
        with home.store() as store:
            store.commit(nth(1))
    finally:
        os.umask(umask)
    (file,) = home.transcripts.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert home.transcripts.stat().st_mode & 0o777 == 0o700


def test_a_turn_counts_that_cannot_be_noted(home: Home, caplog: Any) -> None:
    with home.store() as store:
        home.transcripts.mkdir(parents=True)
        (home.transcripts / "session-1.turns").mkdir()
        store.commit(nth(1))
        assert len(store.turns(KEY)) == 1
    assert "A turn was committed, but not noted in" in caplog.text


def test_files_that_cannot_be_read_are_an_error_and_no_loss(home: Home) -> None:
    with home.store() as store:
        store.commit(nth(1))
    home.lose()
    (home.transcripts / "session-2.turns").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be read") as caught, home.store():
        pass
    assert str(home.transcripts) in caught.value.message
    (home.transcripts / "session-2.turns").rmdir()
    with home.store() as store:
        assert len(store.turns(KEY)) == 1
