"""Compaction on demand
(https://platform.claude.com/docs/en/build-with-claude/compaction-on-demand): a request with
`compaction` is answered with one block, which holds a summary of its messages and later stands
first in their place.

The model writes it, asked at the end of the conversation. The block's signature tells what the
summary was: nobody is kept from writing one of their own, who could say the same as a user. A block
without a signature is that of an API which compacts by itself (`compact_20260112`): it follows what
it summarises, and is read so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from sessionbridge.apis.common.body import Fields, NotBlank, check, refused
from sessionbridge.errors import CompactionRefused

KIND = "compaction"
_MARK = "sb"


class Compaction(Fields):
    """What the request asks for."""

    type: Literal["summarize"]
    instructions: Annotated[str, Field(max_length=16_384)] | None = None


class _Block(Fields):
    content: NotBlank | None = None
    signature: str | None = None
    tool_changes: list[Any] | None = None


class Summary(NamedTuple):
    """The summary that a request goes on from: the message of that `number` holds it, as its block
    of the number `block`. What comes before it no longer counts."""

    text: str
    number: int
    block: int
    ignored: frozenset[str]


def signature(summary: str) -> str:
    digest = hashlib.sha256(summary.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_MARK}{digest}"


type Said = Sequence[tuple[str, Any]]
"""Role and content of each message."""


def summary_in(messages: Said) -> Summary | None:
    """Raises `BadRequest` with the API's own codes."""
    found = [(n, b, block) for n, b, block in _blocks(messages) if block.content is not None]
    if not found:
        return None
    number, index, last = found[-1]
    field = f"messages.{number}.content.{index}"
    signed = any(block.signature for *_, block in found)
    if messages[number][0] == "system" or (signed and found[0][:2] != (0, 0)):
        raise _refused(
            "compaction_block_misplaced",
            f"{field}: a compaction block must be the first block of the conversation; remove "
            "the messages that it summarizes.",
        )
    if signed and len(found) > 1:
        raise _refused(
            "compaction_block_ambiguous",
            f"{field}: there must be one compaction block, and there are {len(found)}; send the "
            "newest alone.",
        )
    assert last.content is not None
    given = last.signature or ""
    if given.startswith(_MARK) and given != signature(last.content):
        raise _refused(
            "compaction_content_mismatch",
            f"{field}.content: is not the summary that was given with this signature; send the "
            "block as it was given.",
        )
    changes = {"messages.content.compaction.tool_changes"} if last.tool_changes else set()
    return Summary(last.content, number, index, frozenset(changes))


def _blocks(messages: Said) -> Iterator[tuple[int, int, _Block]]:
    for number, (_, content) in enumerate(messages):
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict) and block.get("type") == KIND:
                yield number, index, check(_Block, block, f"messages.{number}.content.{index}")


def check_combined(named: Iterable[str], value: str) -> None:
    """`named` are fields of the request that only a reply would show; `value` is why there is to be
    none."""
    if field := next(iter(named), None):
        raise refused(field, f"cannot be combined with {value}")


def check_summarised(messages: Said, *, says_nothing: bool) -> None:
    """Whether a summary can be made of them."""
    if says_nothing:
        raise _refused(
            "compaction_nothing_to_summarize",
            "messages: hold nothing to summarize; send at least one message of the user or the "
            "assistant.",
        )
    role, content = messages[-1]
    if role == "assistant" and _calls_without_results(content):
        raise _refused(
            "compaction_incomplete_turn",
            f"messages.{len(messages) - 1}: this turn calls tools whose results are missing; send "
            "these first, then compact.",
        )


def _calls_without_results(content: Any) -> set[Any]:
    blocks = [b for b in (content if isinstance(content, list) else ()) if isinstance(b, dict)]
    calls = {str(b.get("id")) for b in blocks if str(b.get("type")).endswith("tool_use")}
    return calls - {str(block.get("tool_use_id")) for block in blocks}


def _refused(code: str, message: str) -> CompactionRefused:
    return CompactionRefused(message, code=code)
