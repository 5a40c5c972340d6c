"""Copying all that a store keeps to another one, on whatever engine.

It is copied in batches, in the order in which it was kept, and each batch is there whole or not at
all. So what a copy that was ended has left is a beginning of the whole, and the next goes on behind
it; what has changed in that beginning since then is copied once more, with all that follows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched, islice
from typing import Any

from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import (
    Database,
    Engine,
    first,
    first_of,
    insert_sql,
    without_nul,
)
from sessionbridge.sessions.store.ledger import KEY
from sessionbridge.sessions.store.queries import KEY_IS, ask_map_row, named
from sessionbridge.sessions.store.upkeep import conversation_of

Row = Mapping[str, Any]

Tracked = Callable[[str, Iterable[Any], int], Iterable[Any]]
"""What is done, its steps, and how many these are: gives the steps back, and shows how far it is.
"""

Places = Mapping[str, Mapping[str, str]]
"""What the metadata of each provider's map rows is to say of where transcripts are; nothing where
it stays."""

_BATCH = 1000
_SAMPLE = 200

_WHICH_TURN = ("id", "name", *KEY, "started_at")
"""What never changes of a turn."""

_STATE_SQL = """
    SELECT count(*) AS turns, max(id) AS newest,
    (SELECT max(last_used_at) FROM session_map) AS used FROM turns
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """Its rows are in the order of a `number`, which they keep, or which is the table's own: then
    SQLite shows it to who names it alone."""

    name: str
    number: str
    kept: bool

    def rows(self, db: Database) -> Iterator[Row]:
        columns = "*" if self.kept else f"*, {self.number}"
        return db.stream(f"SELECT {columns} FROM {self.name} ORDER BY {self.number}")

    def content(self, row: Row) -> dict[str, Any]:
        return {name: value for name, value in row.items() if self.kept or name != self.number}


_WHOLE = {
    "clients": "*",
    "spending": "client, provider, started_at, until, cost_usd, tokens",
}
"""Columns of the tables that are copied as a whole; what has no name is numbered anew."""

_TURNS = _Table("turns", "id", kept=True)
_POINTS = _Table("points", "rowid", kept=False)


@dataclass(frozen=True, slots=True)
class Compared:
    """How many rows each table has in the source and in the target, by its name; and of how many
    turns all that belongs to them was compared, and the numbers of those that are not the same."""

    rows: Mapping[str, tuple[int, int]]
    sample: int
    different: tuple[int, ...]

    @property
    def are_same(self) -> bool:
        return not self.different and all(ours == theirs for ours, theirs in self.rows.values())


def strangers(source: Database, target: Database) -> int:
    """How many turns, conversations and clients of the target are none of the source's."""
    sql = f"SELECT {', '.join(_WHICH_TURN)} FROM turns ORDER BY id"
    ours = map(without_nul, source.stream(sql))
    known = next(ours, None)
    count = 0
    for turn in map(without_nul, target.stream(sql)):
        while known is not None and known["id"] < turn["id"]:
            known = next(ours, None)
        count += known != turn
    same_key = " AND ".join(f"turns.{column} = map.{column}" for column in KEY)
    keys = f"SELECT {', '.join(KEY)} FROM session_map AS map"
    without_turns = f"{keys} WHERE NOT EXISTS (SELECT 1 FROM turns WHERE {same_key})"
    unknown = {_key(without_nul(row)) for row in target.stream(without_turns)}
    unknown.difference_update(_key(without_nul(row)) for row in source.stream(keys))
    return count + len(unknown) + len(_clients(target) - _clients(source))


def _clients(db: Database) -> set[str]:
    return {row["name"] for row in db.query("SELECT name FROM clients", {})}


def copy_turns(source: Database, target: Engine, tracked: Tracked) -> None:
    """With their points. Nobody finds them yet."""
    for table in (_TURNS, _POINTS):
        _copy(source, target, table, tracked)


def copy_map(source: Database, target: Engine, places: Places, tracked: Tracked) -> None:
    """Comes last: now the conversations are known there, and who has them."""

    def copied(db: Database) -> None:
        for table, columns in _WHOLE.items():
            _copy_whole(source, db, table, columns)
        _copy_map(source, db, places, tracked)

    target.write(copied)


def _copy(source: Database, target: Engine, table: _Table, tracked: Tracked) -> None:
    same, other = target.read(lambda db: _beginning(source, db, table))
    if other is not None:
        sql = f"DELETE FROM {table.name} WHERE {table.number} >= :number"
        target.write(lambda db: db.execute(sql, {"number": other}))
    batches = batched(islice(_copies(source, table), same, None), _BATCH)
    left = _count(source, table.name) - same
    for batch in tracked(f"Copying {table.name}", batches, -(-left // _BATCH)):
        rows = [table.content(row) for row in batch]
        target.write(partial(_insert, table=table, rows=rows))


def _beginning(source: Database, target: Database, table: _Table) -> tuple[int, int | None]:
    """With how many same rows both begin, and the number of the target's first other one."""
    ours, count = _copies(source, table), 0
    for theirs in table.rows(target):
        row = next(ours, None)
        if row is None or table.content(row) != table.content(theirs):
            return count, theirs[table.number]
        count += 1
    return count, None


def _copies(source: Database, table: _Table) -> Iterator[dict[str, Any]]:
    """Its rows as every target is to have them, in all tables by the same key."""
    return map(without_nul, table.rows(source))


def _insert(db: Database, table: _Table, rows: Sequence[Row]) -> None:
    db.execute_many(insert_sql(table.name, rows[0]), rows)
    if table is _TURNS:
        list(db.query(db.dialect.number_on, {}))


def _copy_whole(source: Database, target: Database, table: str, columns: str) -> None:
    target.execute(f"DELETE FROM {table}", {})
    for batch in batched(source.stream(f"SELECT {columns} FROM {table}"), _BATCH):
        target.execute_many(insert_sql(table, batch[0]), batch)


def _copy_map(source: Database, target: Database, places: Places, tracked: Tracked) -> None:
    target.execute("DELETE FROM session_map", {})
    rows = (
        _placed(row, places.get(row["provider"], {}))
        for row in source.stream("SELECT * FROM session_map")
    )
    steps = -(-_count(source, "session_map") // _BATCH)
    for batch in tracked("Copying session_map", batched(rows, _BATCH), steps):
        target.execute_many(insert_sql("session_map", batch[0]), batch)


def compare(source: Database, target: Database, places: Places) -> Compared:
    tables = ("session_map", "turns", "points", *_WHOLE)
    numbers = [row["id"] for row in source.stream("SELECT id FROM turns ORDER BY id")]
    compared = sample(numbers)
    different = (
        number
        for number in compared
        if _all_of(source, number, places) != _all_of(target, number, places)
    )
    rows = {table: (_count(source, table), _count(target, table)) for table in tables}
    return Compared(rows, len(compared), tuple(different))


def sample[T](things: Sequence[T]) -> Sequence[T]:
    """Some 200, from the first to the last."""
    return things[:: -(-len(things) // _SAMPLE) or 1]


def _all_of(db: Database, number: int, places: Places) -> Any:
    """A turn, the map row of its conversation, and its points in their order."""
    turn = first(db, "SELECT * FROM turns WHERE id = :number", {"number": number})
    if turn is None:
        return None
    of_key = {**named(_key(turn)), "number": number}
    mapped = first_of(ask_map_row(db, _key(turn)))
    sql = f"SELECT * FROM points WHERE {KEY_IS} AND turn_id = :number ORDER BY rowid"
    points = [_POINTS.content(without_nul(row)) for row in db.query(sql, of_key)]
    place = places.get(turn["provider"], {})
    return without_nul(turn), mapped and _placed(mapped, place), points


def state(db: Database) -> Row | None:
    """Is another once anybody has used a conversation."""
    return first(db, _STATE_SQL, {})


def sessions(db: Database) -> dict[str, str]:
    """The provider of each, by its name."""
    sql = """
        SELECT internal_id, provider FROM turns
        UNION SELECT internal_id, provider FROM session_map
    """
    return {row["internal_id"]: row["provider"] for row in db.stream(sql)}


def mapped_providers(db: Database) -> set[str]:
    """Those that have conversations which can be gone on with."""
    return {row["provider"] for row in db.query("SELECT DISTINCT provider FROM session_map", {})}


def is_known(db: Database, name: str) -> bool:
    """Whether a conversation can still be gone on with in the session of this name, or is the one
    that was created by it."""
    sql = """
        SELECT 1 FROM session_map WHERE internal_id = :name OR external_id = :name
        UNION ALL SELECT 1 FROM points WHERE internal_id = :name LIMIT 1
    """
    return first(db, sql, {"name": name}) is not None


def forgotten(db: Database, names: Iterable[str], were_here: Iterable[str]) -> set[str]:
    """Those that files have of sessions, or of conversations that clients have created, which only
    the ledger knows any more, or nobody; of the latter, those that `were_here`."""
    unsure = set(names)
    told = unsure.intersection(were_here)
    for row in db.stream(f"SELECT DISTINCT internal_id, {', '.join(KEY)} FROM turns"):
        told |= unsure.intersection((row["internal_id"], *conversation_of(_key(row))))
    return {name for name in told if not is_known(db, name)}


def set_common(db: Database, name: str, value: bytes) -> None:
    sql = """
        INSERT INTO common (name, value) VALUES (:name, :value)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value
    """
    db.execute(sql, {"name": name, "value": value})


def _count(db: Database, table: str) -> int:
    (row,) = db.query(f"SELECT count(*) AS n FROM {table}", {})
    return int(row["n"])


def _key(row: Row) -> SessionKey:
    return SessionKey(*(row[column] for column in KEY))


def _placed(row: Row, place: Mapping[str, str]) -> dict[str, Any]:
    metadata = json.dumps({**json.loads(row["metadata"]), **place})
    return {**without_nul(row), "metadata": metadata}
