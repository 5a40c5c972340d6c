"""The rows of the ledger, one for each turn. Never prompt or answer text.

Beside the turns that a conversation can go on from there are three kinds that count only what was
used: those that failed, were refused or left by their client after the model had begun to answer,
summaries of a conversation, and LLM traffic that passed through. Such a row has no session, no
hashes, no ids and no turn before it, so that no look-up by any of these takes it for one to go on
from. Look-ups by the key alone say `KEPT`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sessionbridge.model import Process, SessionKey, Usage

WARM: tuple[Process, ...] = ("live", "spare")
"""The kinds of process that were there before the turn: it avoided a start."""

KEY = ("scope", "external_id", "provider")
"""The columns of a session key."""

KEPT = "internal_id <> ''"
"""SQL that is true of the turns that a conversation can go on from. None has passed through."""

PASSED = "passthrough"
"""Its platform and its plan."""

CLIENT = "coalesce(client, '')"
PLATFORM = "CASE WHEN client IS NULL THEN scope ELSE replace(scope, client || ':', '') END"
"""SQL that takes a turn's scope apart, as `SessionKey` does."""

BRIDGED = f"plan <> '{PASSED}'"
"""SQL that is true of the turns the bridge has answered itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What the ledger holds of a turn. Times: epoch seconds, milliseconds. `process` says what kind
    of process answered (see `turn.Process`). `settings_hash`, `settings_sketch` and `model_asked`
    say how it was asked (see `manner`), `unsaid` that the model said nothing. `caller` is a hash of
    the credentials the request came with, `client` the name of who is known by a token."""

    internal_id: str
    parent_id: int | None
    ask_hash: str
    history_hash: str
    tip_uuid: str
    response_id: str | None
    idempotency_key: str | None
    plan: str
    reason: str
    process: str | None
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int
    settings_hash: str | None = None
    model_asked: str | None = None
    unsaid: bool | None = None
    caller: str | None = None
    settings_sketch: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord(_Turn):
    """A turn to commit. `points` are the (hash, entry uuid) pairs it can be continued from.

    `metadata` goes to the key's map row, where it is merged with what is already there. A turn that
    `may_be_aside` does not take the row over where it looks like a side call.
    """

    key: SessionKey
    points: tuple[tuple[str, str], ...]
    metadata: Mapping[str, Any]
    may_be_aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTurn(_Turn):
    """A turn as it is read back; one that is not `kept` is of no session."""

    id: int

    @property
    def kept(self) -> bool:
        return self.internal_id != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnkeptTurn:
    """`status` says what became of it: `failed`, `timed_out`, `left` or `refusal`, or how a summary
    ended. `usage` is as far as the API told, `cost_usd` an estimate where the turn has not ended;
    times are epoch seconds and milliseconds."""

    plan: str
    reason: str
    process: Process | None
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int
    client: str | None = None


@dataclass(frozen=True, slots=True)
class PassedTurn:
    """One answer of another server. `status` is the API's own word for its end, `cost_usd` by list
    prices; times are epoch seconds and milliseconds."""

    host: str
    api: str
    model: str
    status: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    duration_ms: int


_PLAIN = tuple(field.name for field in fields(_Turn) if field.name != "usage")


READ = ", ".join(("id", *KEY, *_PLAIN, *(field.name for field in fields(Usage))))
"""The columns of a turn that is read back. All of them by a star would be one more as soon as a
later version adds one, and PostgreSQL refuses a prepared statement whose columns have changed."""


def key_document(key: SessionKey) -> dict[str, str | None]:
    """The key, as every JSON document names it; without a client that is null."""
    return {
        "client": key.client or None,
        "platform": key.platform,
        "external_id": key.external_id,
        "provider": key.provider,
    }


def turn_row(record: TurnRecord) -> dict[str, Any]:
    plain = {name: getattr(record, name) for name in _PLAIN}
    plain["unsaid"] = None if record.unsaid is None else int(record.unsaid)
    return {**asdict(record.key), **plain, **asdict(record.usage)}


def unkept_row(key: SessionKey, turn: UnkeptTurn) -> dict[str, Any]:
    columns = asdict(turn)
    used = columns.pop("usage")
    nothing = dict.fromkeys(("internal_id", "ask_hash", "history_hash", "tip_uuid"), "")
    return {**asdict(key), **nothing, **columns, **used}


def passed_row(turn: PassedTurn) -> dict[str, Any]:
    return {
        "scope": PASSED,
        "external_id": turn.host,
        "provider": turn.host,
        "internal_id": "",
        "ask_hash": "",
        "history_hash": "",
        "tip_uuid": "",
        "plan": PASSED,
        "reason": "watched",
        "status": turn.status,
        "api": turn.api,
        "model": turn.model,
        **asdict(turn.usage),
        "cost_usd": turn.cost_usd,
        "started_at": turn.started_at,
        "duration_ms": turn.duration_ms,
    }


def ledger_turn(row: Mapping[str, Any]) -> LedgerTurn:
    return LedgerTurn(id=row["id"], usage=usage(row), **{name: row[name] for name in _PLAIN})


def turn_record(
    row: Mapping[str, Any], points: Iterable[tuple[str, str]], metadata: Mapping[str, Any]
) -> TurnRecord:
    """As it was committed, but for what only counted then."""
    key = SessionKey(row["scope"], row["external_id"], row["provider"])
    plain = {name: row[name] for name in _PLAIN}
    plain["unsaid"] = None if row["unsaid"] is None else bool(row["unsaid"])
    return TurnRecord(key=key, usage=usage(row), points=tuple(points), metadata=metadata, **plain)


def usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cache_creation_input_tokens"],
        row["cache_read_input_tokens"],
        row["cache_creation_1h_input_tokens"] or 0,  # null where nobody has told
    )
