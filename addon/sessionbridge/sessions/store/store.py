"""The session store: which Claude session a key has, where it can be continued, what it cost.

Synchronous, for one thread at a time. Raises StoreUnavailable where the file cannot be used; what
is absent is absent for certain.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate
from uuid import uuid4

from sessionbridge.allowances import Allowance, ClientRules
from sessionbridge.client_tokens import Token
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import Point, SessionKey
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.reports import activity, budgets, figures
from sessionbridge.sessions.reports.activity import Activity
from sessionbridge.sessions.reports.budgets import NamedBudget
from sessionbridge.sessions.reports.figures import Figures
from sessionbridge.sessions.reports.savings import (
    CacheRates,
    SavingsRow,
    cached_sql,
    savings_rows,
    savings_sql,
)
from sessionbridge.sessions.reports.sums import (
    SESSIONS_SQL,
    By,
    CostRow,
    SessionSummary,
    cost_row,
    costs_sql,
    session_summary,
)
from sessionbridge.sessions.store import (
    clients,
    commits,
    plan_windows,
    queries,
    spending,
    upkeep,
)
from sessionbridge.sessions.store.clients import Client
from sessionbridge.sessions.store.commits import Recovered
from sessionbridge.sessions.store.engine import (
    PATIENCE,
    CommitUnknown,
    Database,
    Engine,
    insert,
)
from sessionbridge.sessions.store.ledger import (
    READ,
    LedgerTurn,
    PassedTurn,
    TurnRecord,
    UnkeptTurn,
    ledger_turn,
    passed_row,
    unkept_row,
)
from sessionbridge.sessions.store.queries import KEY_IS, Held, Lineage, MapRow, Response, named
from sessionbridge.sessions.store.shared_files import SharedFiles
from sessionbridge.sessions.store.spending import (
    Estimate,
    Limited,
    Reserved,
    Settlement,
    Use,
    Used,
)
from sessionbridge.sessions.store.sqlite.database import SharedDatabase
from sessionbridge.sessions.store.turn_files import KeptTurn, TurnFiles
from sessionbridge.sessions.store.upkeep import Holdings, conversation_of

__all__ = [
    "By",
    "CostRow",
    "Holdings",
    "LedgerTurn",
    "Lineage",
    "MapRow",
    "SavingsRow",
    "SessionStore",
    "SessionSummary",
    "TurnRecord",
]

logger = logging.getLogger(__name__)


def _reads[**P, T](
    method: Callable[Concatenate[SessionStore, Database, P], T],
) -> Callable[Concatenate[SessionStore, P], T]:
    """Asked without a database, the method is given the store's, to read it as of one moment."""

    @wraps(method)
    def ask(store: SessionStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store._engine.read(lambda db: method(store, db, *args, **kwargs))

    return ask


def _writes[**P, T](
    method: Callable[Concatenate[SessionStore, Database, P], T],
) -> Callable[Concatenate[SessionStore, P], T]:
    """Asked without a database, the method is given the store's. All that it writes is there, or
    nothing."""

    @wraps(method)
    def ask(store: SessionStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return store._engine.write(lambda db: method(store, db, *args, **kwargs))

    return ask


class SessionStore:
    """The session map, the lineage and the ledger. Open one with `open`, per process."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        beside: TurnFiles | None = None,
        files: SharedFiles | None = None,
    ) -> None:
        """Transcripts are kept together with the turns where there are `files`."""
        self._engine = engine
        self._clock = clock
        self._beside = beside
        self._files = files

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        transcripts: Path | None = None,
        others: Sequence[Path] = (),
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
    ) -> SessionStore:
        """Make the file where there is none. With the folder of the `transcripts` each turn is also
        noted there, and a database without turns begins with those that are, there and in the
        folders of `others`. One that is locked is waited for until the `patience` (seconds) is
        over."""
        beside = None if transcripts is None else TurnFiles(transcripts, others)
        file = SharedDatabase(path, patience, partial(_begin_with, beside))
        file.open()
        return cls(file, clock, beside)

    @property
    def engine(self) -> Engine:
        """For who copies all there is."""
        return self._engine

    def close(self) -> None:
        self._engine.close()

    def wait_at_most(self, seconds: float) -> None:
        """From now on, for a database that is locked."""
        self._engine.wait_at_most(seconds)

    # -- the map ----------------------------------------------------------------------------------

    @_writes
    def get(self, db: Database, key: SessionKey) -> str | None:
        """The key's internal id; counts as a use of it."""
        sql = f"UPDATE session_map SET last_used_at = :now WHERE {KEY_IS} RETURNING internal_id"
        rows = list(db.query(sql, {**named(key), "now": self._clock()}))
        return rows[0]["internal_id"] if rows else None

    @_writes
    def set(
        self,
        db: Database,
        key: SessionKey,
        internal_id: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keeps `created_at` of a known key and merges its metadata."""
        db.alone(key)
        known = queries.map_row(db, key)
        commits.upsert(db, key, known, internal_id, metadata or {}, self._clock())

    @_writes
    def delete(
        self, db: Database, key: SessionKey, unused_for: float | None = None
    ) -> Holdings | None:
        """Forget the key, its points and the files that nodes share; its turns stay in the ledger.
        Returns what it had, or None where there was nothing to forget, or it was used within the
        last `unused_for` seconds."""
        held = upkeep.forget(db, key, self._before(unused_for))
        if self._files is not None:
            for name in held.files if held else ():
                self._files.forget(db, name)
        return held

    @_writes
    def forget_points(
        self,
        db: Database,
        key: SessionKey,
        sessions: Sequence[str],
        unused_for: float | None = None,
    ) -> bool:
        """Nothing of the key is continued from these sessions again. False where it was used within
        the last `unused_for` seconds, and nothing is changed."""
        return upkeep.forget_points(db, key, sessions, self._before(unused_for))

    def _before(self, unused_for: float | None) -> float | None:
        return None if unused_for is None else self._clock() - unused_for

    @_writes
    def forget_session(self, db: Database, internal_id: str, *, unmap: bool) -> None:
        """Nothing is continued from this session again: the CLI has lost its transcript.

        Points that the same key has in other sessions stay; so do the turns, in the ledger. Without
        `unmap` the key stays mapped to it until a turn takes its place: should that turn fail, the
        loss is still to be told, and what was learnt of the key is still known.
        """
        upkeep.forget_session(db, internal_id, unmap=unmap)

    @_writes
    def replaced_import(self, db: Database, key: SessionKey, turn_id: int) -> str | None:
        """The session that nothing will continue now that this turn brought in the whole
        conversation once more: the one that the key's turn before it was an import to, if nothing
        came of it. It is forgotten; its transcript is left to the caller."""
        return upkeep.forget_replaced(db, key, turn_id)

    @_reads
    def count(self, db: Database) -> int:
        (row,) = db.query("SELECT count(*) AS n FROM session_map", {})
        return int(row["n"])

    # -- the lineage ------------------------------------------------------------------------------

    @_reads
    def lineage(
        self,
        db: Database,
        key: SessionKey,
        hashes: Sequence[str],
        *,
        tip: bool = True,
        asked_so: Manner | None = None,
        waits: bool = False,
    ) -> Lineage:
        """`hashes` are those of a conversation's messages, from the first to the one asked. Without
        `tip` nothing is told of the key's newest turn, which only a history kept here needs; with
        `asked_so` it is the newest of those that were asked in this manner, with `waits` rather one
        that waits for results.

        One question however many they are."""
        return queries.lineage(db, key, hashes, tip=tip, asked_so=asked_so, waits=waits)

    @_reads
    def whereabouts(self, db: Database, key: SessionKey) -> Mapping[str, Held]:
        """See `queries.whereabouts`."""
        return queries.whereabouts(db, key)

    @_reads
    def has_others(self, db: Database, provider: str) -> bool:
        """See `queries.has_others`."""
        return queries.has_others(db, provider)

    @_reads
    def is_known_elsewhere(self, db: Database, key: SessionKey, hashes: Sequence[str]) -> bool:
        """See `queries.is_known_elsewhere`."""
        return queries.is_known_elsewhere(db, key, hashes)

    @_reads
    def last_ended(self, db: Database, turn_id: int) -> Point | None:
        """Where the newest turn ended that this one goes on from and that was no open one."""
        return queries.last_ended(db, turn_id)

    @_reads
    def response(self, db: Database, response_id: str) -> Response | None:
        """What a response that the bridge has given is about. Raises `StoreUnavailable` only."""
        return queries.response(db, response_id)

    @_reads
    def ended_at(self, db: Database, key: SessionKey, entry: str) -> Response | None:
        """See `queries.ended_at`."""
        return queries.ended_at(db, key, entry)

    @_writes
    def forget_response(self, db: Database, response_id: str) -> bool:
        """See `upkeep.forget_response`; the transcript is left to the caller."""
        return upkeep.forget_response(db, response_id)

    @_reads
    def caller(self, db: Database, key: SessionKey) -> str | None:
        """See `queries.caller`."""
        return queries.caller(db, key)

    def commit(
        self, record: TurnRecord, under: str | None = None, settlement: Settlement | None = None
    ) -> int:
        """All of a turn or nothing: map row, ledger row, points, and the `settlement` of what
        it has reserved. Returns the turn's id. `under` is the lock that the turn holds."""
        name = uuid4().hex
        try:
            turn = self._engine.write(
                lambda db: self._committed(db, record, name, settlement), under
            )
        except CommitUnknown as error:
            return self._found(record.key, name, error)
        except StoreUnavailable as error:
            raise _not_kept(error) from error
        if self._beside is not None:
            self._beside.add(turn)
            if self._engine.replaced:  # between the two: others may have made it without this
                self._keep(turn)
        return turn.id

    def _committed(
        self, db: Database, record: TurnRecord, name: str, settlement: Settlement | None
    ) -> KeptTurn:
        turn = commits.commit(db, record, self._clock(), name)
        _settle(db, settlement)
        if self._files is not None:
            for file in (record.internal_id, *conversation_of(record.key)):
                self._files.keep(db, file)
        return turn

    def _found(self, key: SessionKey, name: str, cut_off: CommitUnknown) -> int:
        try:
            known = self._turn_named(key, name)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{cut_off.message} Whether this turn was kept is not known."
            ) from error
        if known is None:
            raise _not_kept(cut_off)
        return known

    @_writes
    def _turn_named(self, db: Database, key: SessionKey, name: str) -> int | None:
        """Once the transaction that may have committed it has ended: it is alone with the key."""
        db.alone(key)
        return queries.turn_named(db, name)

    @_writes
    def _keep(self, db: Database, turn: KeptTurn) -> None:
        commits.keep(db, turn)

    @_reads
    def noted(self, db: Database) -> list[KeptTurn]:
        """The turns as they are to be noted beside their transcripts."""
        return list(queries.noted_turns(db))

    @_writes
    def recover(self, db: Database, turns: Iterable[KeptTurn]) -> Recovered:
        """Commits once more those of conversations that the database does not hold."""
        return commits.recover(db, turns)

    @_writes
    def passed(self, db: Database, turn: PassedTurn) -> None:
        """Keeps what an answer used that only passed through."""
        insert(db, "turns", passed_row(turn))

    @_writes
    def count_unkept(
        self,
        db: Database,
        key: SessionKey,
        turn: UnkeptTurn,
        settlement: Settlement | None = None,
    ) -> int:
        """Keeps what a turn used that nothing goes on from, and no more of it. Returns its id."""
        _settle(db, settlement)
        return insert(db, "turns", unkept_row(key, turn))

    # -- the plans of logins ----------------------------------------------------------------------

    @_writes
    def keep_plan_windows(self, db: Database, windows: Iterable[PlanWindow]) -> None:
        """In the place of what was told of them before."""
        plan_windows.keep(db, windows)

    @_reads
    def plan_windows(self, db: Database) -> list[PlanWindow]:
        """Of all providers, also those whose time is over."""
        return plan_windows.windows(db)

    # -- what clients and providers may spend ------------------------------------------------------

    @_writes
    def reserve(
        self,
        db: Database,
        turn: Reserved,
        limits: Sequence[Limited],
        estimate: Estimate,
        base: int | None,
    ) -> Used:
        """See `spending.reserve`: of those that ask at once, as many go on as there is room for."""
        return spending.reserve(db, turn, limits, estimate, base, self._clock())

    @_writes
    def settle(self, db: Database, turn: Reserved, used: Used | None) -> None:
        """See `spending.settle`."""
        spending.settle(db, turn, used)

    @_reads
    def use(self, db: Database, limited: Limited) -> Use:
        """What there is of an allowance now."""
        return spending.use(db, limited, self._clock())

    @_reads
    def budgets(self, db: Database, providers: Mapping[str, Allowance]) -> list[NamedBudget]:
        """See `budgets.budgets`."""
        return budgets.budgets(db, providers, self._clock())

    # -- the files that nodes share ----------------------------------------------------------------

    @_reads
    def are_here(self, db: Database, name: str) -> bool:
        """Whether this node's files of that name, a session's or a conversation's, have all that
        nodes have kept of them."""
        return self._files is None or self._files.are_here(db, name)

    @_reads
    def bring_in(self, db: Database, name: str) -> None:
        """Writes them anew. No process may work with them."""
        if self._files is not None:
            self._files.bring_in(db, name)

    def keep_files(self, name: str, under: str | None = None) -> None:
        """As they are now, without a turn. `under` is the lock that this needs, and which ends with
        it."""
        files = self._files
        if files is not None:
            self._engine.write(lambda db: files.keep(db, name), under)

    @_reads
    def has_files(self, db: Database, name: str) -> bool:
        """Whether nodes have kept any."""
        return self._files is not None and self._files.has(db, name)

    @_writes
    def forget_files(self, db: Database, name: str) -> None:
        if self._files is not None:
            self._files.forget(db, name)

    @_writes
    def common(self, db: Database, name: str, made: bytes) -> bytes:
        """What all nodes have under this name: this, where there was nothing yet."""
        params = {"name": name, "value": made}
        db.execute(
            "INSERT INTO common (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING",
            params,
        )
        found = queries.common(db, name)
        assert found is not None
        return found

    # -- the clients -------------------------------------------------------------------------------

    @_writes
    def add_client(self, db: Database, name: str, token: Token, rules: ClientRules) -> bool:
        """False where the name is taken, by one that was revoked, too."""
        return clients.add(db, Client(name, token, self._clock(), None, rules))

    @_reads
    def client_by_token(self, db: Database, id_: str) -> Client | None:
        """See `clients.by_token`."""
        return clients.by_token(db, id_)

    @_reads
    def client(self, db: Database, name: str) -> Client | None:
        return clients.by_name(db, name)

    @_reads
    def clients(self, db: Database) -> list[Client]:
        """Also those that were revoked, by name."""
        return clients.all_of_them(db)

    @_reads
    def has_clients(self, db: Database) -> bool:
        """Or has had some."""
        return clients.are_there(db)

    @_writes
    def revoke_client(self, db: Database, name: str) -> bool:
        """False where nobody has this name."""
        return clients.revoke(db, name, self._clock())

    @_writes
    def rotate_client(self, db: Database, name: str, token: Token) -> bool:
        """See `clients.rotate`."""
        return clients.rotate(db, name, token)

    @_writes
    def change_rules(
        self, db: Database, name: str, change: Callable[[ClientRules], ClientRules]
    ) -> bool:
        """See `clients.change_rules`."""
        return clients.change_rules(db, name, change)

    # -- the keys ----------------------------------------------------------------------------------

    @_reads
    def find(self, db: Database, name: str) -> list[SessionKey]:
        """The keys called so: by external id, else as `scope/external id`, else by a session."""
        return upkeep.find(db, name)

    @_reads
    def stale(self, db: Database, unused_for: float) -> list[SessionKey]:
        """The keys not used for that many seconds, the one that was used longest ago first."""
        return upkeep.stale(db, self._clock() - unused_for)

    @_reads
    def holdings(self, db: Database, key: SessionKey) -> Holdings:
        return upkeep.holdings(db, key)

    @_reads
    def usable(self, db: Database, key: SessionKey) -> tuple[str, ...]:
        """See `upkeep.usable`."""
        return upkeep.usable(db, key)

    @_reads
    def turns(self, db: Database, key: SessionKey) -> list[LedgerTurn]:
        """Every turn of the key, the oldest first."""
        sql = f"SELECT {READ} FROM turns WHERE {KEY_IS} ORDER BY id"
        return [ledger_turn(row) for row in db.query(sql, named(key))]

    # -- the reports ------------------------------------------------------------------------------

    @_reads
    def sessions(self, db: Database) -> list[SessionSummary]:
        """Every mapped key, the one used last first."""
        return [session_summary(row) for row in db.query(SESSIONS_SQL, {})]

    @_reads
    def costs(self, db: Database, by: By, since: float | None = None) -> list[CostRow]:
        """Turns that started at `since` (epoch seconds) or later; all of them for None."""
        bounds = {"since": 0.0 if since is None else since}
        return [cost_row(by, row) for row in db.query(costs_sql(by, db.dialect), bounds)]

    @_reads
    def savings(
        self, db: Database, by: By, since: float | None, rates: CacheRates
    ) -> list[SavingsRow]:
        """Of the same turns as `costs`; `rates` says what a cached token is worth."""
        bounds = {"since": 0.0 if since is None else since}
        questions = savings_sql(by, db.dialect), cached_sql(by, db.dialect)
        groups, cached = (list(db.query(sql, bounds)) for sql in questions)
        return savings_rows(by, groups, cached, rates)

    @_reads
    def activity(self, db: Database, since: float | None = None) -> Activity:
        """What happened from `since` (epoch seconds) until now, over time."""
        return activity.activity(db, since, self._clock())

    @_reads
    def figures(self, db: Database) -> Figures:
        """What the whole ledger comes to."""
        return figures.figures(db)

    @_reads
    def places(self, db: Database, key: SessionKey) -> Mapping[int, Sequence[tuple[str, str]]]:
        """The (hash, entry uuid) pairs that each turn of the key can be continued from."""
        return queries.places(db, key)


def _not_kept(error: StoreUnavailable) -> StoreUnavailable:
    return StoreUnavailable(
        f"{error.message} This turn was not kept.", retry_after=error.retry_after
    )


def _begin_with(beside: TurnFiles | None, db: Database) -> None:
    """A database without turns is new, whatever became of the one before."""
    if beside is None:
        return
    try:
        turns = beside.read()
    except OSError as error:
        raise StoreUnavailable(
            f"The session database is to be made anew from the files in {_listed(beside)}, which "
            f"cannot be read ({error}); make them readable."
        ) from error
    if turns:
        recovered = commits.recover(db, turns)
        logger.warning(
            "The session database was lost; %s turns of %s conversations are known again from %s.",
            *(recovered.turns, recovered.conversations, _listed(beside)),
        )


def _listed(beside: TurnFiles) -> str:
    return " and ".join(map(str, beside.folders))


def _settle(db: Database, settlement: Settlement | None) -> None:
    if settlement is not None:
        spending.settle(db, settlement.reserved, settlement.used)
