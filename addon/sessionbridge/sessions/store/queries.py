"""Reads the session database as values; each function within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessionbridge.model import Origin, Point, SessionKey
from sessionbridge.names import is_conversation
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.store.engine import Database, first, first_of
from sessionbridge.sessions.store.ledger import (
    KEPT,
    KEY,
    READ,
    LedgerTurn,
    TurnRecord,
    ledger_turn,
    turn_record,
)
from sessionbridge.sessions.store.turn_files import KeptTurn

_TAKES_OVER = ("started_over", "memory_lost")
"""Reasons of turns after which the session before is not to be gone on with."""

KEY_IS = "scope = :scope AND external_id = :external_id AND provider = :provider"

_IS_OPEN = "(status IN ('tool_use', 'silent') OR coalesce(unsaid, 0) = 1)"
"""Turns whose end is no place to go on from: they wait for results, or the model said nothing, and
what the user says next has to be one message with what was said before."""


def _points_sql(listed: str) -> str:
    return f"""
    SELECT hash, internal_id, entry_uuid, turn_id, entry_uuid = (
        SELECT tip_uuid FROM turns WHERE turns.internal_id = points.internal_id
        ORDER BY id DESC LIMIT 1
    ) AS is_tip, 0 AS is_open,
    (SELECT settings_hash FROM turns WHERE turns.id = points.turn_id) AS settings_hash,
    (SELECT settings_sketch FROM turns WHERE turns.id = points.turn_id) AS settings_sketch
    FROM points WHERE {KEY_IS} AND hash IN (:last, (
        -- in the order given, the longest first, so that it stops where a conversation goes on
        SELECT value FROM {listed} AS listed
        -- an offset, so that PostgreSQL looks for one after another instead of joining them all
        WHERE EXISTS (SELECT 1 FROM points WHERE {KEY_IS} AND hash = value LIMIT 1 OFFSET 0) LIMIT 1
    ))
    ORDER BY turn_id DESC
"""


_ENDS_SQL = f"""
    SELECT history_hash AS hash, internal_id, tip_uuid AS entry_uuid, id AS turn_id, id = (
        SELECT max(id) FROM turns newer WHERE newer.internal_id = turns.internal_id
    ) AS is_tip, {_IS_OPEN} AS is_open, parent_id, ask_hash, idempotency_key,
    reason, scope, external_id, provider, settings_hash, settings_sketch, caller
    FROM turns
"""
_NEWEST_SQL = f"{_ENDS_SQL} WHERE internal_id = :session ORDER BY id DESC LIMIT 1"
_NEWEST_OF_MANNER_SQL = f"""
    {_ENDS_SQL} WHERE {KEY_IS} AND settings_hash = :settings AND model_asked = :model AND (
        internal_id = :mapped
        -- a session that was forgotten has none
        OR EXISTS (SELECT 1 FROM points WHERE {KEY_IS} AND points.internal_id = turns.internal_id)
    ) AND id >= coalesce(
        (SELECT max(id) FROM turns WHERE {KEY_IS} AND {KEPT} AND reason = 'started_over'), 0
    ) ORDER BY id DESC LIMIT 1
"""
_WENT_ON_SQL = f"""
    WITH RECURSIVE line(id) AS (
        SELECT CAST(:turn AS bigint)
        UNION
        SELECT turns.id FROM turns JOIN line ON turns.parent_id = line.id WHERE {KEY_IS}
    )
    {_ENDS_SQL} WHERE id = (SELECT max(id) FROM line)
"""
_NEWEST_OPEN_SQL = f"""
    {_ENDS_SQL} WHERE {KEY_IS} AND status = 'tool_use' AND id = (
        SELECT max(id) FROM turns newer WHERE newer.internal_id = turns.internal_id
    ) ORDER BY id DESC LIMIT 1
"""
_TURN_SQL = f"{_ENDS_SQL} WHERE {KEY_IS} AND id = :turn"
"""Nobody else's: after a loss a number may be that of another key's turn."""
_OPEN_SQL = f"""
    {_ENDS_SQL} WHERE {KEY_IS} AND history_hash = :hash AND {_IS_OPEN}
    ORDER BY id DESC LIMIT 1
"""


_LAST_ENDED_SQL = f"""
    WITH RECURSIVE line(id, parent_id, is_open) AS (
        SELECT id, parent_id, {_IS_OPEN} FROM turns WHERE id = :turn
        UNION ALL
        SELECT turns.id, turns.parent_id, {_IS_OPEN} FROM turns
        JOIN line ON turns.id = line.parent_id AND line.is_open
    )
    {_ENDS_SQL} WHERE id = (SELECT id FROM line WHERE NOT is_open)
"""
_RESPONSE_SQL = f"{_ENDS_SQL} WHERE response_id = :response ORDER BY id DESC LIMIT 1"
_ENDED_AT_SQL = f"{_ENDS_SQL} WHERE {KEY_IS} AND tip_uuid = :entry ORDER BY id DESC LIMIT 1"
_MAP_ROW = "internal_id, created_at, last_used_at, metadata"
_LEDGER_SQL = f"SELECT {READ} FROM turns WHERE id = :turn"


@dataclass(frozen=True, slots=True)
class MapRow:
    """What the session map holds for a key. Times are epoch seconds."""

    key: SessionKey
    session_id: str
    created_at: float
    last_used_at: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What one provider has of an id: the newest turn of the session it is mapped to, if any, the
    provider whose conversation it has taken up, or only stands in for, and who keeps the history,
    as far as that is known."""

    newest: int | None = None
    moved_from: str | None = None
    stands_in: str | None = None
    history: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything one read tells about a key.

    `tip` is where the newest committed turn of `row.session_id` ended, or of those that were asked
    in one manner. `points` are those of the
    longest known beginning of the conversation, and of the whole of it; newest turn first.
    `open_turn` ended before the last message, with calls of the client's tools. `asked` is the hash
    of what that newest turn was asked and `request` its idempotency key; `before` is where it had
    continued from, None where it began a session; `reason` is why it was planned so.
    """

    row: MapRow | None
    tip: Point | None
    points: tuple[Point, ...]
    open_turn: Point | None = None
    asked: str | None = None
    request: str | None = None
    before: Point | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response by its id: its turn and that one's key and end, and where it had begun. `history`
    says who keeps that of the key, as far as it is known."""

    id: str
    key: SessionKey
    end: Point
    before: Point | None
    turn: LedgerTurn
    history: str | None

    @property
    def origin(self) -> Origin:
        key = self.key
        return Origin(key.platform, key.external_id, "conversation", "server", client=key.client)

    def is_for(self, origin: Origin | None, caller: str) -> bool:
        return given_to(self.origin, self.turn.caller, origin, caller)


def given_to(
    given: Origin | None, given_caller: str | None, origin: Origin | None, caller: str
) -> bool:
    """Whether what was given in one conversation is for who asks now: in the conversation that a
    request names, and where it names none, or its name alone is not enough, with the same
    credentials. A conversation that a client has created is never named by what comes with all of
    its requests."""
    if given is not None and is_conversation(given.external_id):
        return given_caller == caller
    if origin is not None and not (
        given and (origin.scope, origin.external_id) == (given.scope, given.external_id)
    ):
        return False
    enough = origin is not None and not origin.by_caller
    return enough or given_caller in (None, caller)


def named(key: SessionKey) -> dict[str, Any]:
    return {"scope": key.scope, "external_id": key.external_id, "provider": key.provider}


def keys(db: Database, sql: str, params: Mapping[str, Any]) -> list[SessionKey]:
    rows = db.query(sql, dict(params))
    return [SessionKey(row["scope"], row["external_id"], row["provider"]) for row in rows]


def map_row(db: Database, key: SessionKey) -> MapRow | None:
    return read_map_row(key, ask_map_row(db, key))


def ask_map_row(db: Database, key: SessionKey) -> Iterable[Mapping[str, Any]]:
    return db.query(f"SELECT {_MAP_ROW} FROM session_map WHERE {KEY_IS}", named(key))


def read_map_row(key: SessionKey, rows: Iterable[Mapping[str, Any]]) -> MapRow | None:
    row = first_of(rows)
    if row is None:
        return None
    used = row["created_at"], row["last_used_at"]
    return MapRow(key, row["internal_id"], *used, json.loads(row["metadata"]))


def lineage(
    db: Database,
    key: SessionKey,
    hashes: Sequence[str],
    *,
    tip: bool,
    asked_so: Manner | None,
    waits: bool,
) -> Lineage:
    asked = {
        "last": hashes[-1] if hashes else None,
        "listed": json.dumps(list(reversed(hashes[:-1]))),
    }
    before_last = {**named(key), "hash": hashes[-2] if hashes[1:] else None}
    mapped = ask_map_row(db, key)
    found = db.query(_points_sql(db.dialect.listed), {**named(key), **asked})
    opened = db.query(_OPEN_SQL, before_last) if hashes[1:] else ()
    row = read_map_row(key, mapped)
    points = tuple(_point(point) for point in found)
    found_open = first_of(opened)
    open_turn = _point(found_open) if found_open else None
    newest = _newest(db, row, asked_so, waits=waits) if row and tip else None
    if newest is None:
        return Lineage(row, None, points, open_turn)
    parent = _turn(db, key, newest["parent_id"])
    return Lineage(
        row=row,
        tip=_point(newest),
        points=points,
        open_turn=open_turn,
        asked=newest["ask_hash"],
        request=newest["idempotency_key"],
        before=_point(parent) if parent else None,
        reason=newest["reason"],
    )


def caller(db: Database, key: SessionKey) -> str | None:
    """A hash of the credentials that the key's conversation was last gone on with; None where that
    is not known, or there is no conversation."""
    row = map_row(db, key)
    newest = first(db, _NEWEST_SQL, {"session": row.session_id}) if row else None
    return newest["caller"] if newest else None


def whereabouts(db: Database, key: SessionKey) -> dict[str, Held]:
    """Of the key's id, by the provider that has something of it. Side calls, which have sessions of
    their own, are nothing of the conversation."""
    sql = f"""
        SELECT provider, metadata, (
            SELECT max(id) FROM turns
            WHERE turns.{KEPT} AND turns.internal_id = session_map.internal_id
        ) AS newest
        FROM session_map WHERE scope = :scope AND external_id = :external_id
    """
    found = {}
    params = {"scope": key.scope, "external_id": key.external_id}
    for row in db.query(sql, params):
        metadata = json.loads(row["metadata"])
        noted = (metadata.get(name) for name in ("moved_from", "stands_in", "history"))
        found[row["provider"]] = Held(row["newest"], *noted)
    return found


def has_others(db: Database, provider: str) -> bool:
    """Whether any other has a conversation, or has had it."""
    sql = "SELECT 1 FROM session_map WHERE provider <> :provider LIMIT 1"
    return first(db, sql, {"provider": provider}) is not None


def is_known_elsewhere(db: Database, key: SessionKey, hashes: Sequence[str]) -> bool:
    """Whether another provider has one of these places of the key's conversation."""
    sql = f"""
        SELECT 1 FROM points WHERE scope = :scope AND external_id = :external_id
        AND provider <> :provider AND hash IN (SELECT value FROM {db.dialect.listed} AS listed)
        LIMIT 1
    """
    return first(db, sql, {**named(key), "listed": json.dumps(list(hashes))}) is not None


def _newest(
    db: Database, row: MapRow, asked_so: Manner | None, *, waits: bool
) -> Mapping[str, Any] | None:
    """The key's newest turn in this manner; that of its session where the manner does not count,
    or was not noted yet. With `waits` rather the newest that waits for results, in any manner:
    some clients offer their tools with the question alone."""
    mapped = first(db, _NEWEST_SQL, {"session": row.session_id})
    if asked_so is None or (mapped is not None and mapped["settings_hash"] is None):
        return mapped
    wanted = {"settings": asked_so.settings, "model": asked_so.model, "mapped": row.session_id}
    found = first(db, _NEWEST_OF_MANNER_SQL, {**named(row.key), **wanted})
    if found is not None:
        # Its results may have come without the tools, and so in another manner.
        found = first(db, _WENT_ON_SQL, {**named(row.key), "turn": found["turn_id"]})
    if waits and not (found and found["is_open"]):
        return first(db, _NEWEST_OPEN_SQL, named(row.key)) or mapped
    return found


def keeps_its_session(db: Database, row: MapRow, turn: TurnRecord) -> bool:
    """Whether a turn leaves its key mapped to the session it had: a side call, or what may be one,
    until somebody goes on from it."""
    if not turn.may_be_aside or turn.reason in _TAKES_OVER or turn.settings_hash is None:
        return False
    if turn.plan == "resume" and turn.reason != "tool_results":
        return False
    parent = _turn(db, turn.key, turn.parent_id)
    mapped = first(db, _NEWEST_SQL, {"session": row.session_id})
    before = mapped["settings_hash"] if mapped else None
    differs = before not in (None, turn.settings_hash)
    if turn.reason in ("tool_results", "retried"):
        return differs
    if parent is not None and parent["internal_id"] != row.session_id:
        return False
    return turn.plan == "fresh" or differs


def last_ended(db: Database, turn_id: int) -> Point | None:
    """Where the newest turn ended that this one goes on from and that waited for no results."""
    row = first(db, _LAST_ENDED_SQL, {"turn": turn_id})
    return _point(row) if row else None


def response(db: Database, response_id: str) -> Response | None:
    return _response(db, first(db, _RESPONSE_SQL, {"response": response_id}))


def ended_at(db: Database, key: SessionKey, entry: str) -> Response | None:
    """The key's response that ended at this entry of a transcript."""
    return _response(db, first(db, _ENDED_AT_SQL, {**named(key), "entry": entry}))


def _response(db: Database, row: Mapping[str, Any] | None) -> Response | None:
    if row is None:
        return None
    key = SessionKey(row["scope"], row["external_id"], row["provider"])
    parent = _turn(db, key, row["parent_id"])
    before = _point(parent) if parent else None
    (found,) = db.query(_LEDGER_SQL, {"turn": row["turn_id"]})
    turn = ledger_turn(found)
    mapped = map_row(db, key)
    history = mapped.metadata.get("history") if mapped else None
    return Response(turn.response_id or "", key, _point(row), before, turn, history)


def turn_named(db: Database, name: str | None) -> int | None:
    row = first(db, "SELECT id FROM turns WHERE name = :name", {"name": name})
    return row["id"] if row else None


def ask_own_turn(db: Database, key: SessionKey, number: int | None) -> Iterable[Mapping[str, Any]]:
    """Number and name of a turn, if it is the key's."""
    sql = f"SELECT id, name FROM turns WHERE {KEY_IS} AND id = :number"
    return db.query(sql, {**named(key), "number": number})


def holds(db: Database, key: SessionKey) -> bool:
    """Whether there is a turn of the key that can be gone on from."""
    return (
        first(db, f"SELECT 1 FROM turns WHERE {KEY_IS} AND {KEPT} LIMIT 1", named(key)) is not None
    )


def noted_turns(db: Database) -> Iterator[KeptTurn]:
    """Those of the mapped keys that can be gone on from, as they are noted beside transcripts."""
    sql = f"""
        SELECT turns.*, before.name AS follows, map.internal_id AS mapped, map.metadata AS metadata
        FROM turns
        JOIN session_map AS map USING ({", ".join(KEY)})
        LEFT JOIN turns AS before ON before.id = turns.parent_id
        WHERE turns.{KEPT} ORDER BY turns.id
    """
    points: dict[int, list[tuple[str, str]]] = {}
    for point in db.query("SELECT turn_id, hash, entry_uuid FROM points ORDER BY rowid", {}):
        points.setdefault(point["turn_id"], []).append((point["hash"], point["entry_uuid"]))
    for row in db.query(sql, {}):
        record = turn_record(row, points.get(row["id"], ()), json.loads(row["metadata"]))
        known = row["id"], row["name"], row["started_at"], row["follows"], row["mapped"]
        yield KeptTurn(*known, record)


def places(db: Database, key: SessionKey) -> dict[int, list[tuple[str, str]]]:
    """The points of each turn of the key: the hash of a place, and the transcript's entry there."""
    sql = f"SELECT turn_id, hash, entry_uuid FROM points WHERE {KEY_IS} ORDER BY rowid"
    found: dict[int, list[tuple[str, str]]] = {}
    for row in db.query(sql, named(key)):
        found.setdefault(row["turn_id"], []).append((row["hash"], row["entry_uuid"]))
    return found


def common(db: Database, name: str) -> bytes | None:
    """What all nodes have under this name."""
    row = first(db, "SELECT value FROM common WHERE name = :name", {"name": name})
    return bytes(row["value"]) if row else None


def _turn(db: Database, key: SessionKey, number: int | None) -> Mapping[str, Any] | None:
    return first(db, _TURN_SQL, {**named(key), "turn": number})


def _point(row: Mapping[str, Any]) -> Point:
    return Point(
        row["hash"],
        row["internal_id"],
        row["entry_uuid"],
        row["turn_id"],
        bool(row["is_tip"]),
        bool(row["is_open"]),
        row["settings_hash"],
        row["settings_sketch"],
    )
