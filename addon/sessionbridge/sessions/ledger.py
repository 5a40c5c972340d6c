"""What is kept about each key and turn. Never prompt or answer text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sessionbridge.turn import Point, SessionKey, Usage


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

    `tip` is where the newest committed turn of `row.internal_id` ended. `points` are those of the
    longest known beginning of the conversation, and of the whole of it; newest turn first. `asked`
    is the hash of what that newest turn was asked and `request` its idempotency key; `before` is
    where it had continued from, None where it began a session.
    """

    row: MapRow | None
    tip: Point | None
    points: tuple[Point, ...]
    asked: str | None = None
    request: str | None = None
    before: Point | None = None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One committed turn. `points` are the (hash, entry uuid) pairs it can be continued from.

    `metadata` goes to the key's map row, where it is merged with what is already there.
    """

    key: SessionKey
    internal_id: str
    parent_id: int | None
    ask_hash: str
    history_hash: str
    tip_uuid: str
    response_id: str | None
    idempotency_key: str | None
    plan: str
    reason: str
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int
    points: tuple[tuple[str, str], ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerTurn:
    """A committed turn as it is read back; the fields are those of `TurnRecord`."""

    id: int
    internal_id: str
    parent_id: int | None
    ask_hash: str
    history_hash: str
    tip_uuid: str
    response_id: str | None
    idempotency_key: str | None
    plan: str
    reason: str
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int


def turn_row(record: TurnRecord) -> dict[str, Any]:
    return {
        "scope": record.key.scope,
        "external_id": record.key.external_id,
        "provider": record.key.provider,
        "internal_id": record.internal_id,
        "parent_id": record.parent_id,
        "ask_hash": record.ask_hash,
        "history_hash": record.history_hash,
        "tip_uuid": record.tip_uuid,
        "response_id": record.response_id,
        "idempotency_key": record.idempotency_key,
        "plan": record.plan,
        "reason": record.reason,
        "status": record.status,
        "api": record.api,
        "model": record.model,
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
        "cache_creation_input_tokens": record.usage.cache_creation_input_tokens,
        "cache_read_input_tokens": record.usage.cache_read_input_tokens,
        "cost_usd": record.cost_usd,
        "started_at": record.started_at,
        "ttft_ms": record.ttft_ms,
        "duration_ms": record.duration_ms,
    }


def ledger_turn(row: Mapping[str, Any]) -> LedgerTurn:
    names = (field.name for field in fields(LedgerTurn) if field.name != "usage")
    return LedgerTurn(usage=usage(row), **{name: row[name] for name in names})


def usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cache_creation_input_tokens"],
        row["cache_read_input_tokens"],
    )
