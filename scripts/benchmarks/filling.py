"""A session database as full as after a hundred thousand turns, without asking each of them.

The rows are those the store writes, made from the same record with the same functions; only the
transactions are large. A benchmark that goes on with such a conversation and is told to resume it
shows that they are right.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sessionbridge.model import History, Message, Origin, SessionKey
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.store.ledger import TurnRecord, turn_row
from sessionbridge.sessions.store.queries import named
from sessionbridge.sessions.store.store import SessionStore
from tests.support.turn_records import turn

TURNS = 5
"""Of each session, and so ten messages."""

PROVIDER = "claude"
_SAID = "what somebody says in a message of ordinary length, " * 4
STEP = 5_000
"""Conversations in one transaction."""

type Insert = Callable[[str, Iterator[dict[str, Any]]], None]
"""Rows into a table."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The one with this number: who has it, and what has been said in it."""

    number: int

    @property
    def history(self) -> History:
        return "server" if self.number % 4 == 0 else "client"

    @property
    def origin(self) -> Origin:
        return Origin("bench", f"conversation-{self.number}", "conversation", self.history)

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.origin.platform, self.origin.external_id, PROVIDER)

    @property
    def session(self) -> str:
        return f"00000000-0000-4000-8000-{self.number:012}"

    def entry(self, place: int) -> str:
        return f"{place:08}-0000-4000-8000-{self.number:012}"

    def messages(self) -> list[Message]:
        return [
            said("user" if place % 2 == 0 else "assistant", f"{self.number}.{place}: {_SAID}")
            for place in range(2 * TURNS)
        ]

    def record(self, number: int, links: Sequence[Link], parent: int | None) -> TurnRecord:
        ask, answer = links[2 * number : 2 * number + 2]
        entries = self.entry(2 * number), self.entry(2 * number + 1)
        return turn(
            key=self.key,
            internal_id=self.session,
            parent_id=parent,
            ask_hash=ask.hash,
            history_hash=answer.hash,
            tip_uuid=entries[1],
            response_id=f"msg_{self.number}_{number}",
            plan="resume" if number else "fresh",
            reason="continued" if number else "first_turn",
            started_at=1_700_000_000.0 + number,
            points=((ask.hash, entries[0]), (answer.hash, entries[1])),
            metadata={"kind": "conversation", "history": self.history},
        )


def said(role: str, text: str) -> Message:
    return Message("user" if role == "user" else "assistant", ({"type": "text", "text": text},))


def fill(path: Path, turns: int, say: Callable[[str], None]) -> None:
    """As many turns in a new file; the turns of a session lie apart, as time would have it."""
    SessionStore.open(path).close()
    sessions = turns // TURNS
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for first in range(0, sessions, STEP):
            part = range(first, min(first + STEP, sessions))
            db.execute("BEGIN")
            insert_part(partial(_insert, db), part, first * TURNS)
            db.execute("COMMIT")
            say(f"{part.stop * TURNS:,} of {turns:,} turns in the database")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def insert_part(insert: Insert, part: range, turns_before: int) -> None:
    """The conversations with these numbers, each of `TURNS` turns."""
    conversations = [Conversation(number) for number in part]
    links = [chain(conversation.messages()) for conversation in conversations]
    ids = [0] * len(conversations)
    next_id = turns_before + 1
    for number in range(TURNS):
        records = []
        for index, conversation in enumerate(conversations):
            record = conversation.record(number, links[index], ids[index] or None)
            ids[index] = next_id + index
            records.append((ids[index], record))
        next_id += len(conversations)
        insert("turns", (turn_row(record) | {"id": id_} for id_, record in records))
        insert("points", (row for id_, record in records for row in _points(id_, record)))
    insert("session_map", (_map_row(record) for _, record in records))


def _points(turn_id: int, record: TurnRecord) -> Iterator[dict[str, Any]]:
    place = {**named(record.key), "internal_id": record.internal_id, "turn_id": turn_id}
    for hash_, entry in record.points:
        yield place | {"hash": hash_, "entry_uuid": entry}


def _map_row(record: TurnRecord) -> dict[str, Any]:
    times = {"created_at": record.started_at, "last_used_at": record.started_at}
    metadata = json.dumps(dict(record.metadata))
    return named(record.key) | times | {"internal_id": record.internal_id, "metadata": metadata}


def _insert(db: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows)
    values = ", ".join(f":{name}" for name in first)
    sql = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({values})"
    db.execute(sql, first)
    db.executemany(sql, rows)
