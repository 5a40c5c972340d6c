"""The two pages of the content view, as plain text: what a request asked and what was made of it,
and what was answered.

`notes` is what `flow_notes` keeps of a bridged flow; it is empty for one that nobody watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sessionbridge.apis.common.json_values import count, fields, items, words
from sessionbridge.model import Message, Usage
from sessionbridge.proxy.reasons import explained
from sessionbridge.sessions.store.ledger import PASSED
from sessionbridge.traffic.reading import Reading
from sessionbridge.traffic.text import conversation, folded, heading, joined

Notes = Mapping[str, object]

APIS = {
    "messages": "Messages API",
    "chat": "Chat Completions API",
    "responses": "Responses API",
    "ollama": "Ollama's chat API",
}
PROCESSES = {
    "live": "the one of the turn before, which was still there",
    "spare": "one that had been started ahead",
    "new": "one started for this turn",
}


def request_page(reading: Reading, notes: Notes) -> str:
    parts = [_table(_request_rows(reading, notes))]
    parts += _sections(reading, notes)
    if reading.system:
        parts += [heading(f"system prompt, {len(reading.system):,} characters"), reading.system]
    if reading.tools:
        parts += [heading(f"{len(reading.tools)} tools offered"), ", ".join(reading.tools)]
    return "\n\n".join(parts) + "\n"


def answer_page(reading: Reading, notes: Notes, status: int) -> str:
    parts = [_table(_answer_rows(reading, notes, status))]
    if usage := _usage(notes) or reading.usage:
        parts.append(_tokens(usage))
    parts += conversation([Message("assistant", reading.answer)])
    return "\n\n".join(parts) + "\n"


def _request_rows(reading: Reading, notes: Notes) -> Iterator[tuple[str, str]]:
    model = f", asks for {reading.model}" if reading.model else ""
    yield "Request", APIS.get(reading.api, reading.api) + model
    if "platform" in notes:
        named = (words(notes.get("platform")), words(notes.get("external_id")))
        yield "Asked by", ", ".join(filter(None, named)) or "no conversation named"
    yield "Plan", _plan(notes)
    yield "Session", _session(notes)
    yield "Process", PROCESSES.get(words(notes.get("process")), "")
    yield "Told", _told(notes)
    yield "Command", words(notes.get("command"))
    yield "No effect", ", ".join(map(words, items(notes.get("ignored"))))
    yield "Not read", ", ".join(reading.unread)


def _answer_rows(reading: Reading, notes: Notes, status: int) -> Iterator[tuple[str, str]]:
    model = words(notes.get("model")) or reading.model
    yield "Answer", APIS.get(reading.api, reading.api) + (f", {model}" if model else "")
    refused = words(notes.get("error")) or (str(status) if status >= 400 else "")
    error = ", ".join(filter(None, (refused, reading.error)))
    yield "Error", error
    yield "Plan", _plan(notes)
    yield "Ended", "" if error else reading.stop or "not at all: the answer is cut off"
    yield "Cost", _cost(notes)
    yield "Time", _time(notes)
    yield "Not read", ", ".join(reading.unread)


def _sections(reading: Reading, notes: Notes) -> Iterator[str]:
    fed = notes.get("fed")
    if not isinstance(fed, int) or notes.get("plan") is None:  # nothing was sent to Claude
        yield from conversation(reading.messages)
        return
    said = joined(reading.messages)
    first = max(0, len(said) - 1 - count(fed))
    yield f"{_messages(len(said) - first, 'new message')} sent to Claude"
    yield from conversation(said, first)
    if first:
        held = "that the session already holds" if notes.get("base") else "that were not sent"
        yield heading(f"{_messages(first, 'earlier message')} {held}")
        yield "\n".join(folded(said[:first]))


def _messages(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _plan(notes: Notes) -> str:
    return explained(words(notes.get("plan")), words(notes.get("reason")))


def _session(notes: Notes) -> str:
    session, base = words(notes.get("session")), words(notes.get("base"))
    return f"{session}, continued at entry {base}" if session and base else session


def _told(notes: Notes) -> str:
    names = ", ".join(map(words, items(notes.get("told"))))
    return f"{names}, in {count(notes.get('told_ms'))} ms" if names else ""


def _cost(notes: Notes) -> str:
    cost = notes.get("cost_usd")
    if not isinstance(cost, int | float):
        return ""
    estimate = " by list price" if notes.get("plan") == PASSED else ""
    return f"${cost:.4f}{estimate}"


def _time(notes: Notes) -> str:
    told = {"ttft_ms": "first token", "first_byte_ms": "first byte", "duration_ms": "whole answer"}
    spent = {label: count(notes.get(name)) for name, label in told.items()}
    return ", ".join(f"{label} {ms / 1000:.1f} s" for label, ms in spent.items() if ms)


def _usage(notes: Notes) -> Usage | None:
    told = fields(notes.get("usage"))
    return Usage(**{name: count(told.get(name)) for name in Usage.__slots__}) if told else None


def _tokens(usage: Usage) -> str:
    columns = {
        "fresh input": f"{usage.input_tokens:,}",
        "cache read": f"{usage.cache_read_input_tokens:,}",
        "cache write": f"{usage.cache_creation_input_tokens:,}",
        **_for_an_hour(usage),
        "output": f"{usage.output_tokens:,}",
        "total": f"{usage.prompt_tokens + usage.output_tokens:,}",
        "cache hit": "-" if usage.cache_hit is None else f"{100 * usage.cache_hit:.0f} %",
    }
    widths = [max(map(len, column)) for column in columns.items()]
    return "\n".join((_line("Tokens", columns, widths), _line("", columns.values(), widths)))


def _for_an_hour(usage: Usage) -> dict[str, str]:
    hour = usage.cache_creation_1h_input_tokens
    return {"of it 1 h": f"{hour:,}"} if hour else {}


def _line(label: str, cells: Iterable[str], widths: Sequence[int]) -> str:
    aligned = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{label:<11}{'   '.join(aligned)}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{label:<11}{value}" for label, value in rows if value)
