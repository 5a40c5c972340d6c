"""Which keys there are, what the bridge has of each, and forgetting it. The ledger always stays.

Each function works within its caller's transaction. Transcripts are files of the CLI and none of
the database's business: whoever forgets a key is told which sessions it had.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sessionbridge.model import SessionKey
from sessionbridge.names import is_conversation
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.ledger import BRIDGED, KEPT
from sessionbridge.sessions.store.queries import KEY_IS, MapRow, keys, map_row, named

_KEYS = "SELECT scope, external_id, provider"

# The first reading of a name that leads somewhere counts: an id may look like a platform and an id.
_READINGS = (
    "external_id = :name",
    "scope || '/' || external_id = :name",
    "internal_id = :name AND :name <> ''",
)

_OTHERS = "(scope, external_id, provider) <> (:scope, :external_id, :provider)"

_SESSIONS_SQL = f"""
    SELECT internal_id FROM (
        SELECT internal_id, id FROM turns WHERE {KEY_IS} AND {KEPT}
        UNION ALL SELECT internal_id, NULL FROM session_map WHERE {KEY_IS}
    ) AS held
    WHERE NOT EXISTS (SELECT 1 FROM turns WHERE internal_id = held.internal_id AND {_OTHERS})
    AND NOT EXISTS (SELECT 1 FROM session_map WHERE internal_id = held.internal_id AND {_OTHERS})
    GROUP BY internal_id ORDER BY min(id) NULLS FIRST
"""

_REPLACED_SQL = f"""
    SELECT old.internal_id FROM turns AS old
    JOIN turns AS new ON new.id = :turn AND new.internal_id <> old.internal_id
    WHERE old.id = (SELECT max(id) FROM turns WHERE {KEY_IS} AND {KEPT} AND id < :turn)
    AND old.plan = 'import' AND old.parent_id IS NULL
    AND new.plan = 'import' AND new.parent_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM turns WHERE internal_id = old.internal_id AND id <> old.id)
    AND NOT EXISTS (SELECT 1 FROM turns WHERE {KEY_IS} AND parent_id = old.id)
    AND NOT EXISTS (SELECT 1 FROM session_map WHERE internal_id = old.internal_id)
"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the bridge has of a key: its map row, and the Claude sessions that are its alone, the
    oldest first. A session that another key also uses is not among them."""

    key: SessionKey
    row: MapRow | None
    sessions: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """What Claude's folder has is named after the sessions, and after a conversation that was
        created here."""
        return (*self.sessions, *conversation_of(self.key))


def conversation_of(key: SessionKey) -> tuple[str, ...]:
    """The conversation that was created here, if the key is that of one."""
    return (key.external_id,) if is_conversation(key.external_id) else ()


def find(db: Database, name: str) -> list[SessionKey]:
    """The keys that people may mean by this name; several where it is ambiguous."""
    for reading in _READINGS:
        sql = f"""
            {_KEYS} FROM session_map WHERE {reading}
            UNION {_KEYS} FROM turns WHERE ({reading}) AND {BRIDGED}
            ORDER BY scope, external_id, provider
        """
        if found := keys(db, sql, {"name": name}):
            return found
    return []


def stale(db: Database, before: float) -> list[SessionKey]:
    """The mapped keys last used before then, the one that was used longest ago first."""
    sql = f"{_KEYS} FROM session_map WHERE last_used_at < :before ORDER BY last_used_at"
    return keys(db, sql, {"before": before})


def holdings(db: Database, key: SessionKey) -> Holdings:
    sessions = db.query(_SESSIONS_SQL, named(key))
    return Holdings(key, map_row(db, key), tuple(row["internal_id"] for row in sessions))


def forget(db: Database, key: SessionKey, before: float | None) -> Holdings | None:
    """Drops map row and points; with `before` only if the key was last used before then."""
    db.alone(key)
    held = holdings(db, key)
    if _is_used(held.row, before):
        return None
    gone = [
        list(db.query(f"DELETE FROM {table} WHERE {KEY_IS} RETURNING 1", named(key)))
        for table in ("points", "session_map")
    ]
    return held if any(gone) else None


def usable(db: Database, key: SessionKey) -> tuple[str, ...]:
    """The sessions that a turn of the key may be under way in, or go on from: in one order, so that
    two who lock them all never wait for each other."""
    sql = f"""
        SELECT internal_id FROM points WHERE {KEY_IS}
        UNION SELECT internal_id FROM session_map WHERE {KEY_IS} ORDER BY internal_id
    """
    return tuple(row["internal_id"] for row in db.query(sql, named(key)))


def forget_points(
    db: Database, key: SessionKey, sessions: Sequence[str], before: float | None
) -> bool:
    """Drops those of the key in these sessions; with `before` only if the key was last used before
    then."""
    db.alone(key)
    if _is_used(map_row(db, key), before):
        return False
    listed = f"SELECT value FROM {db.dialect.listed} AS listed"
    # IS TRUE: as a join PostgreSQL takes 0.6 s where it takes 10 ms to look each up in a hash table
    # (measured with 200 sessions of 5,000, before it had looked at the table).
    sql = f"DELETE FROM points WHERE {KEY_IS} AND (internal_id IN ({listed})) IS TRUE"
    db.execute(sql, {**named(key), "listed": json.dumps(sessions)})
    return True


def _is_used(row: MapRow | None, before: float | None) -> bool:
    return before is not None and (row is None or row.last_used_at >= before)


def forget_session(db: Database, internal_id: str, *, unmap: bool) -> None:
    # Through the keys it was used with, because points are indexed by key.
    points = """
        DELETE FROM points WHERE internal_id = :id AND (scope, external_id, provider) IN (
            SELECT scope, external_id, provider FROM turns WHERE internal_id = :id
        )
    """
    db.execute(points, {"id": internal_id})
    if unmap:
        db.execute("DELETE FROM session_map WHERE internal_id = :id", {"id": internal_id})


def forget_response(db: Database, response_id: str) -> bool:
    """Nobody finds it by its id. Whether its session was one that only ids of responses lead to,
    and of which no other is left: then it is forgotten."""
    sql = "SELECT internal_id, scope, api FROM turns WHERE response_id = :id"
    turns = list(db.query(sql, {"id": response_id}))
    db.execute("UPDATE turns SET response_id = NULL WHERE response_id = :id", {"id": response_id})
    gone = False
    for turn in turns:
        (others,) = db.query(
            "SELECT count(response_id) AS n FROM turns WHERE internal_id = :session",
            {"session": turn["internal_id"]},
        )
        # Such a key is named by no request: the response's id alone led there.
        if turn["scope"] == turn["api"] and not others["n"]:
            forget_session(db, turn["internal_id"], unmap=True)
            gone = True
    return gone


def forget_replaced(db: Database, key: SessionKey, turn_id: int) -> str | None:
    params: dict[str, Any] = {**named(key), "turn": turn_id}
    replaced = [str(row["internal_id"]) for row in db.query(_REPLACED_SQL, params)]
    for internal_id in replaced:
        forget_session(db, internal_id, unmap=False)
    return replaced[0] if replaced else None
