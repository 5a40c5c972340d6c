"""What is kept about each key and turn. Never prompt or answer text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sessionbridge.model import Origin, Point, Process, SessionKey, Usage

WARM: tuple[Process, ...] = ("live", "spare")
"""The kinds of process that were there before the turn: it avoided a start."""


@dataclass(frozen=True, slots=True)
class MapRow:
    """What the session map holds for a key. Times are epoch seconds."""

    key: SessionKey
    internal_id: str
    created_at: float
    last_used_at: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the bridge has of a key: its map row, and the Claude sessions that are its alone, the
    oldest first. A session that another key also uses is not among them."""

    key: SessionKey
    row: MapRow | None
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything one read tells about a key.

    `tip` is where the newest committed turn of `row.internal_id` ended, or of those that were asked
    in one manner. `points` are those of the
    longest known beginning of the conversation, and of the whole of it; newest turn first.
    `open_turn` ended before the last message, with calls of the client's tools. `asked` is the hash
    of what that newest turn was asked and `request` its idempotency key; `before` is where it had
    continued from, None where it began a session.
    """

    row: MapRow | None
    tip: Point | None
    points: tuple[Point, ...]
    open_turn: Point | None = None
    asked: str | None = None
    request: str | None = None
    before: Point | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response by its id: the key and the end of its turn, and where that had begun."""

    id: str
    key: SessionKey
    end: Point
    before: Point | None

    @property
    def origin(self) -> Origin:
        return Origin(self.key.scope, self.key.external_id, "conversation", "server")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What the ledger holds of a turn. Times: epoch seconds, milliseconds. `process` says what kind
    of process answered (see `turn.Process`). `settings_hash` and `model_asked` say how it was asked
    (see `manner`), `unsaid` that the model said nothing."""

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
    """A turn as it is read back; one that is not `kept` is of no session (see `unkept`)."""

    id: int

    @property
    def kept(self) -> bool:
        return self.internal_id != ""


_PLAIN = tuple(field.name for field in fields(_Turn) if field.name != "usage")


def key_document(key: SessionKey) -> dict[str, str]:
    """The key, as every JSON document names it."""
    return {"platform": key.scope, "external_id": key.external_id, "provider": key.provider}


def turn_row(record: TurnRecord) -> dict[str, Any]:
    plain = {name: getattr(record, name) for name in _PLAIN}
    return {**asdict(record.key), **plain, **asdict(record.usage)}


def ledger_turn(row: Mapping[str, Any]) -> LedgerTurn:
    return LedgerTurn(id=row["id"], usage=usage(row), **{name: row[name] for name in _PLAIN})


def usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cache_creation_input_tokens"],
        row["cache_read_input_tokens"],
        row["cache_creation_1h_input_tokens"] or 0,  # null where nobody has told
    )
