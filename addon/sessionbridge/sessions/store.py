"""The session store: which Claude session a key has, where it can be continued, what it cost.

Synchronous, for one thread at a time. Raises StoreUnavailable where the file cannot be used; what
is absent is absent for certain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from sqlite_utils import Database

from sessionbridge.sessions.database import SharedDatabase, writing
from sessionbridge.sessions.ledger import (
    SESSIONS_SQL,
    By,
    CostRow,
    Lineage,
    MapRow,
    SessionSummary,
    TurnRecord,
    cost_row,
    costs_sql,
    session_summary,
    turn_row,
)
from sessionbridge.turn import Point, SessionKey

__all__ = [
    "DATABASE_NAME",
    "By",
    "CostRow",
    "Lineage",
    "MapRow",
    "SessionStore",
    "SessionSummary",
    "TurnRecord",
]

DATABASE_NAME = "session_map.db"

_KEY_IS = "scope = :scope AND external_id = :external_id AND provider = :provider"

_POINTS_SQL = f"""
    SELECT hash, internal_id, entry_uuid, turn_id, entry_uuid = (
        SELECT tip_uuid FROM turns WHERE turns.internal_id = points.internal_id
        ORDER BY id DESC LIMIT 1
    ) AS is_tip
    FROM points WHERE {_KEY_IS} AND hash IN (SELECT value FROM json_each(:hashes))
    ORDER BY turn_id DESC
"""

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


class SessionStore:
    """The session map, the lineage and the ledger. Open one with `open`, per process."""

    def __init__(self, file: SharedDatabase, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock

    @classmethod
    def open(
        cls, path: Path, *, busy_timeout: float = 30.0, clock: Callable[[], float] = time.time
    ) -> SessionStore:
        """Make the file where there is none."""
        file = SharedDatabase(path, busy_timeout)
        file.call(lambda db: None)
        return cls(file, clock)

    def close(self) -> None:
        self._file.close()

    # -- the map ----------------------------------------------------------------------------------

    def get(self, key: SessionKey) -> str | None:
        """The key's internal id; counts as a use of it."""
        sql = f"UPDATE session_map SET last_used_at = :now WHERE {_KEY_IS} RETURNING internal_id"

        def work(db: Database) -> str | None:
            with writing(db):
                rows = list(db.query(sql, {**_named(key), "now": self._clock()}))
            return rows[0]["internal_id"] if rows else None

        return self._file.call(work)

    def set(
        self, key: SessionKey, internal_id: str, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Keeps `created_at` of a known key and merges its metadata."""

        def work(db: Database) -> None:
            with writing(db):
                self._upsert(db, key, internal_id, metadata or {})

        self._file.call(work)

    def delete(self, key: SessionKey) -> bool:
        """Forget the key and its points; its turns stay in the ledger. False if unknown."""

        def work(db: Database) -> bool:
            with writing(db):
                db.execute(f"DELETE FROM points WHERE {_KEY_IS}", _named(key))
                cursor = db.execute(f"DELETE FROM session_map WHERE {_KEY_IS}", _named(key))
            return cursor.rowcount > 0

        return self._file.call(work)

    def forget_session(self, internal_id: str) -> None:
        """Nothing is continued from this session again: the CLI has lost its transcript.

        Points that the same key has in other sessions stay; so do the turns, in the ledger.
        """
        # Through the keys it was used with, because points are indexed by key.
        sql = """
            DELETE FROM points WHERE internal_id = :id AND (scope, external_id, provider) IN (
                SELECT scope, external_id, provider FROM turns WHERE internal_id = :id
            )
        """

        def work(db: Database) -> None:
            with writing(db):
                db.execute(sql, {"id": internal_id})
                db.execute("DELETE FROM session_map WHERE internal_id = :id", {"id": internal_id})

        self._file.call(work)

    def prune(self, older_than: float) -> int:
        """Forget, as `delete` does, the keys not used for that many seconds; how many it was."""
        stale = "FROM session_map WHERE last_used_at < ?"

        def work(db: Database) -> int:
            before = [self._clock() - older_than]
            with writing(db):
                db.execute(
                    "DELETE FROM points WHERE (scope, external_id, provider) IN "
                    f"(SELECT scope, external_id, provider {stale})",
                    before,
                )
                return db.execute(f"DELETE {stale}", before).rowcount

        return self._file.call(work)

    def count(self) -> int:
        return self._file.call(
            lambda db: int(_one(db, "SELECT count(*) AS n FROM session_map")["n"])
        )

    # -- the lineage ------------------------------------------------------------------------------

    def lineage(self, key: SessionKey, hashes: Sequence[str]) -> Lineage:
        """Never writes, so it needs no lock and waits for no writer."""

        def work(db: Database) -> Lineage:
            with db.atomic():  # one snapshot for the three reads
                row = _map_row(db, key)
                tip = _tip(db, row.internal_id) if row else None
                found = db.query(_POINTS_SQL, {**_named(key), "hashes": json.dumps(list(hashes))})
                return Lineage(row, tip, tuple(_point(point) for point in found))

        return self._file.call(work)

    def commit(self, record: TurnRecord) -> int:
        """All of a turn or nothing: map row, ledger row, points. Returns the turn's id."""

        def work(db: Database) -> int:
            with writing(db):
                self._upsert(db, record.key, record.internal_id, record.metadata)
                turn_id = cast(int, db.table("turns").insert(turn_row(record)).last_pk)
                place = {**_named(record.key), "internal_id": record.internal_id, "turn": turn_id}
                db.conn.executemany(
                    _POINT_SQL,
                    ({**place, "hash": hash_, "entry": entry} for hash_, entry in record.points),
                )
            return turn_id

        return self._file.call(work)

    def issued(self, internal_id: str) -> bool:
        """Whether this session id is in the map or the ledger, and so is one of ours."""
        sql = """
            SELECT EXISTS (SELECT 1 FROM session_map WHERE internal_id = :id)
                OR EXISTS (SELECT 1 FROM turns WHERE internal_id = :id) AS ours
        """
        return self._file.call(lambda db: bool(_one(db, sql, {"id": internal_id})["ours"]))

    # -- the reports ------------------------------------------------------------------------------

    def sessions(self) -> list[SessionSummary]:
        """Every mapped key, the one used last first."""
        return self._file.call(lambda db: [session_summary(row) for row in db.query(SESSIONS_SQL)])

    def costs(self, by: By, since: float | None = None) -> list[CostRow]:
        """Turns that started at `since` (epoch seconds) or later; all of them for None."""
        bounds = {"since": 0.0 if since is None else since}
        return self._file.call(
            lambda db: [cost_row(by, row) for row in db.query(costs_sql(by), bounds)]
        )

    def _upsert(
        self, db: Database, key: SessionKey, internal_id: str, metadata: Mapping[str, Any]
    ) -> None:
        known = _map_row(db, key)
        merged = {**(known.metadata if known else {}), **metadata}
        row = {"internal_id": internal_id, "now": self._clock(), "metadata": json.dumps(merged)}
        db.execute(_UPSERT_SQL, {**_named(key), **row})


def _named(key: SessionKey) -> dict[str, Any]:
    return {"scope": key.scope, "external_id": key.external_id, "provider": key.provider}


def _one(db: Database, sql: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    (row,) = db.query(sql, params)
    return dict(row)


def _map_row(db: Database, key: SessionKey) -> MapRow | None:
    rows = list(db.query(f"SELECT * FROM session_map WHERE {_KEY_IS}", _named(key)))
    if not rows:
        return None
    used = rows[0]["created_at"], rows[0]["last_used_at"]
    return MapRow(key, rows[0]["internal_id"], *used, json.loads(rows[0]["metadata"]))


def _tip(db: Database, internal_id: str) -> Point | None:
    sql = """
        SELECT history_hash AS hash, internal_id, tip_uuid AS entry_uuid, id AS turn_id, 1 AS is_tip
        FROM turns WHERE internal_id = ? ORDER BY id DESC LIMIT 1
    """
    rows = list(db.query(sql, [internal_id]))
    return _point(rows[0]) if rows else None


def _point(row: Mapping[str, Any]) -> Point:
    return Point(
        row["hash"], row["internal_id"], row["entry_uuid"], row["turn_id"], bool(row["is_tip"])
    )
