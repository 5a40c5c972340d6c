"""A database on PostgreSQL with the turns that `filling` puts into a file, and transcripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from hashlib import sha256
from typing import Any

import psycopg

from scripts.benchmarks.filling import STEP, TURNS, Conversation, insert_part
from scripts.benchmarks.transcripts import lines_of_turn
from sessionbridge.sessions.store.postgres.migrations import SCHEMA
from sessionbridge.sessions.store.postgres.server import Server

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def fill(url: str, turns: int, say: Callable[[str], None]) -> None:
    """As many turns in a new database; the turns of a session lie apart, as time would have it."""
    with closing(Server(url)) as server:
        server.open()
    sessions = turns // TURNS
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"SET search_path = {SCHEMA}")
        for first in range(0, sessions, STEP):
            part = range(first, min(first + STEP, sessions))
            with db.transaction():
                insert_part(partial(_copy, db), part, first * TURNS)
                _copy(db, "pieces", _pieces(part))
                _copy(db, "files", map(_file, part))
            say(f"{part.stop * TURNS:,} of {turns:,} turns in PostgreSQL")
        db.execute("SELECT setval(pg_get_serial_sequence('turns', 'id'), max(id)) FROM turns")
        db.execute("VACUUM ANALYZE")


def transcript(session: str) -> list[bytes]:
    """What the CLI wrote in each turn."""
    return [lines_of_turn(session, number) for number in range(TURNS)]


def _pieces(part: range) -> Iterator[dict[str, Any]]:
    """In the order in which they came."""
    for number in range(TURNS):
        for session in (Conversation(index).session for index in part):
            data = zstd.compress(lines_of_turn(session, number))
            yield {"name": f"{session}.jsonl", "number": number, "data": data}


def _file(number: int) -> dict[str, Any]:
    session = Conversation(number).session
    content = b"".join(transcript(session))
    digest = sha256(content).digest()
    return {
        "name": f"{session}.jsonl",
        "length": len(content),
        "digest": digest,
        "pieces": TURNS,
    }


def _copy(db: psycopg.Connection[Any], table: str, rows: Iterator[Mapping[str, Any]]) -> None:
    first = next(rows)
    with db.cursor().copy(f"COPY {table} ({', '.join(first)}) FROM STDIN") as copy:
        copy.write_row(list(first.values()))
        for row in rows:
            copy.write_row(list(row.values()))
