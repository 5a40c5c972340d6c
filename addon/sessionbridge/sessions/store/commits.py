"""Writes turns and map rows; each function within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlite_utils import Database

from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.ledger import TurnRecord, turn_row
from sessionbridge.sessions.store.queries import keeps_its_session, map_row, named, response_turn
from sessionbridge.sessions.store.turn_files import KeptTurn

_UPSERT_SQL = """
    INSERT INTO session_map (
        scope, external_id, provider, internal_id, created_at, last_used_at, metadata
    ) VALUES (
        :scope, :external_id, :provider, :internal_id, :now, :now, :metadata
    ) ON CONFLICT (scope, external_id, provider) DO UPDATE SET
        internal_id = excluded.internal_id,
        last_used_at = excluded.last_used_at,
        metadata = excluded.metadata
"""

# Not INSERT OR IGNORE, which would also swallow a point without a hash.
_POINT_SQL = """
    INSERT INTO points (scope, external_id, provider, hash, internal_id, entry_uuid, turn_id)
    VALUES (:scope, :external_id, :provider, :hash, :internal_id, :entry, :turn)
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Recovered:
    """How many turns, and of how many conversations."""

    turns: int
    conversations: int


def upsert(
    db: Database, key: SessionKey, internal_id: str, metadata: Mapping[str, Any], now: float
) -> None:
    """Keeps `created_at` of a known key and merges its metadata."""
    known = map_row(db, key)
    merged = {**(known.metadata if known else {}), **metadata}
    row = {"internal_id": internal_id, "now": now, "metadata": json.dumps(merged)}
    db.execute(_UPSERT_SQL, {**named(key), **row})


def commit(db: Database, record: TurnRecord, now: float, number: int | None = None) -> int:
    """Map row, ledger row and points. Returns the turn's id: the `number`, if it is free."""
    known = map_row(db, record.key)
    keeps = known is not None and keeps_its_session(db, known, record)
    session = known.session_id if known and keeps else record.internal_id
    upsert(db, record.key, session, record.metadata, now)
    row = turn_row(record)
    turns = db.table("turns")
    if number is not None and not turns.count_where("id = ?", [number]):
        row["id"] = number
    turn_id = cast(int, turns.insert(row).last_pk)
    place = {**named(record.key), "internal_id": record.internal_id, "turn": turn_id}
    points = ({**place, "hash": hash_, "entry": entry} for hash_, entry in record.points)
    db.conn.executemany(_POINT_SQL, points)
    return turn_id


def recover(db: Database, turns: Iterable[KeptTurn]) -> Recovered:
    """Commits once more, in their order, those that the database does not hold. They keep their
    numbers where these are free: a turn under way may follow one."""
    count, keys = 0, set()
    for turn in turns:
        if response_turn(db, turn.record.response_id) is not None:
            continue
        record = replace(turn.record, parent_id=response_turn(db, turn.follows))
        commit(db, record, turn.at, turn.id)
        count += 1
        keys.add(record.key)
    return Recovered(count, len(keys))
