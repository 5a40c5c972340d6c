"""One conversation as `sessions show` draws it and `sessions export` writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text
from rich.tree import Tree

from sessionbridge.cli.tables import iso, local, written
from sessionbridge.model import SessionKey
from sessionbridge.sessions.reports.sums import money
from sessionbridge.sessions.store.ledger import key_document
from sessionbridge.sessions.store.store import Holdings, LedgerTurn


def title(key: SessionKey) -> str:
    """Begins with a name that commands know it by."""
    return f"{key.scope}/{key.external_id} ({key.provider})"


def tree(held: Holdings, turns: Sequence[LedgerTurn]) -> Tree:
    """A branch for each session with its turns in a row, beneath the turn it was forked from: a
    level for each turn would be wider than any screen."""
    mapped = held.row.session_id if held.row else None
    root = Tree(Text(title(held.key), style="bold"))
    branches: dict[str, Tree] = {}
    nodes: dict[int, Tree] = {}
    for turn in turns:  # a parent is always older than its children
        if turn.internal_id not in branches:
            above = nodes.get(turn.parent_id, root) if turn.parent_id is not None else root
            branches[turn.internal_id] = above.add(_session(turn.internal_id, mapped))
        nodes[turn.id] = branches[turn.internal_id].add(_turn(turn))
    if mapped is not None and mapped not in branches:
        root.add(_session(mapped, mapped)).add(Text("no turns yet"))
    return root


def document(
    held: Holdings, turns: Sequence[LedgerTurn], transcripts: Mapping[str, Path]
) -> dict[str, Any]:
    """Everything kept of the key. It holds no text, because the ledger has none."""
    row = held.row
    lived_in = (turn.internal_id for turn in turns if turn.kept)
    sessions = dict.fromkeys([*lived_in, *held.sessions])
    return {
        **key_document(held.key),
        "session": row.session_id if row else None,
        "created_at": iso(row.created_at) if row else None,
        "last_used_at": iso(row.last_used_at) if row else None,
        "metadata": dict(row.metadata) if row else {},
        "sessions": [
            {"session": name, "transcript": str(transcripts[name]) if name in transcripts else None}
            for name in sessions
        ],
        "turns": [_turn_document(turn) for turn in turns],
    }


def _turn_document(turn: LedgerTurn) -> dict[str, Any]:
    columns = asdict(turn)
    usage = columns.pop("usage")
    columns["session"] = columns.pop("internal_id") or None
    return {**columns, **usage, "started_at": iso(turn.started_at)}


def _session(name: str, mapped: str | None) -> Text:
    if not name:
        return Text("in no session: counted, and nothing kept of them")
    goes_on = " (goes on here)" if name == mapped else ""
    return Text.assemble("session ", (name, "cyan"), (goes_on, "green"))


def _turn(turn: LedgerTurn) -> Text:
    usage = turn.usage
    ended = "" if turn.status == "end_turn" else f" [{turn.status}]"
    facts = (
        f"{turn.model}",
        f"{usage.input_tokens:,} in, {usage.output_tokens:,} out, "
        f"{usage.cache_read_input_tokens:,} read + {written(usage)} written",
        f"${money(turn.cost_usd)}",
        local(turn.started_at),
        f"{turn.duration_ms / 1000:.1f} s",
    )
    plan = (f"{turn.plan} ({turn.reason}){ended}", "bold")
    return Text.assemble(f"{turn.id} ", plan, " · ", " · ".join(facts))
