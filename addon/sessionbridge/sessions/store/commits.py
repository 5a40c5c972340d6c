"""Writes turns and map rows; each function within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import Database, first, first_of, insert
from sessionbridge.sessions.store.ledger import TurnRecord, turn_row
from sessionbridge.sessions.store.queries import (
    MapRow,
    ask_map_row,
    ask_own_turn,
    holds,
    keeps_its_session,
    map_row,
    named,
    read_map_row,
    turn_named,
)
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
    db: Database,
    key: SessionKey,
    known: MapRow | None,
    internal_id: str,
    metadata: Mapping[str, Any],
    now: float,
) -> None:
    """Keeps `created_at` of a key that is known already and merges its metadata."""
    merged = {**(known.metadata if known else {}), **metadata}
    row = {"internal_id": internal_id, "now": now, "metadata": json.dumps(merged)}
    db.execute(_UPSERT_SQL, {**named(key), **row})


def commit(db: Database, record: TurnRecord, now: float, name: str) -> KeptTurn:
    """Map row, ledger row and points. `name` is no other turn's."""
    db.alone(record.key)
    mapped_before = ask_map_row(db, record.key)
    # The database may have been lost since it was planned; its number could be anybody's by now.
    followed = ask_own_turn(db, record.key, record.parent_id)
    known, parent = read_map_row(record.key, mapped_before), first_of(followed)
    keeps = known is not None and keeps_its_session(db, known, record)
    mapped = known.session_id if known and keeps else record.internal_id
    record = replace(record, parent_id=parent["id"] if parent else None)
    number = _insert(db, record, known, mapped, now, {"name": name})
    return KeptTurn(number, name, now, parent["name"] if parent else None, mapped, record)


def recover(db: Database, turns: Iterable[KeptTurn]) -> Recovered:
    """Commits once more, in their order, those of conversations that the database does not hold:
    what it holds has gone on without them. They keep their numbers where these are free, because a
    turn under way may follow one."""
    count = 0
    keys: dict[SessionKey, bool] = {}
    for turn in turns:
        key = turn.record.key
        if key not in keys:
            db.alone(key)
            keys[key] = not holds(db, key)
        if keys[key]:
            keep(db, turn)
            count += 1
    return Recovered(count, sum(keys.values()))


def keep(db: Database, turn: KeptTurn) -> None:
    """Commits a turn once more, unless the database holds it."""
    db.alone(turn.record.key)
    if turn_named(db, turn.name) is not None:
        return
    record = replace(turn.record, parent_id=turn_named(db, turn.follows))
    taken = first(db, "SELECT 1 FROM turns WHERE id = :id", {"id": turn.id})
    number = {} if taken else {"id": turn.id}
    known = map_row(db, record.key)
    _insert(db, record, known, turn.mapped, turn.at, {"name": turn.name, **number})


def _insert(
    db: Database,
    record: TurnRecord,
    known: MapRow | None,
    mapped: str,
    now: float,
    named_so: Mapping[str, Any],
) -> int:
    upsert(db, record.key, known, mapped, record.metadata, now)
    number = insert(db, "turns", {**turn_row(record), **named_so})
    place = {**named(record.key), "internal_id": record.internal_id, "turn": number}
    points = ({**place, "hash": hash_, "entry": entry} for hash_, entry in record.points)
    db.execute_many(_POINT_SQL, points)
    return number
