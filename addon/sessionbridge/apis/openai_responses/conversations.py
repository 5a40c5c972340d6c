"""Conversations that are kept here, as the API tells them
(https://platform.openai.com/docs/api-reference/conversations).

Items are kept as they are told: in the client's own words, with what the API adds to them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import time
from typing import Annotated, Any

from pydantic import Field

from sessionbridge.answer import Answer
from sessionbridge.apis.common.body import Fields, check, load, refused
from sessionbridge.apis.common.summary import is_sealed_here
from sessionbridge.apis.openai_responses.answer import Events
from sessionbridge.apis.openai_responses.hosted import CALLS
from sessionbridge.apis.openai_responses.items import is_told, kind_of
from sessionbridge.apis.openai_responses.request import check_items, place, turn_of
from sessionbridge.apis.openai_responses.stored import PREFIXES, items_of
from sessionbridge.model import (
    Finished,
    Message,
    Said,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    TurnRequest,
)

_MOST_ITEMS = 20
_MOST_PAIRS = 16
_LONGEST_NAME = 64
_LONGEST_VALUE = 512

_REPEATED = ("instructions", "tools", "tool_choice")
"""Fields of a request on which depends how its items are read."""

_REFERENCE = "item_reference"


class _Created(Fields):
    items: Annotated[list[Any], Field(max_length=_MOST_ITEMS)] | None = None
    metadata: dict[str, Any] | None = None


class _Added(Fields):
    items: Annotated[list[Any], Field(max_length=_MOST_ITEMS)]


class _Updated(Fields):
    metadata: dict[str, Any] | None


def created(body: bytes) -> tuple[list[Any], dict[str, str]]:
    """The items and the metadata that a conversation begins with. Raises `BadRequest`."""
    given = check(_Created, load(body, "") if body else {}, "")
    items = given.items or []
    _check(items)
    return items, _metadata(given.metadata)


def added(body: bytes) -> list[Any]:
    """Raises `BadRequest`."""
    items = check(_Added, load(body, ""), "").items
    _check(items)
    return items


def updated(body: bytes) -> dict[str, str]:
    """The metadata in the place of what there was. Raises `BadRequest`."""
    return _metadata(check(_Updated, load(body, ""), "").metadata)


def document(id_: str, created_at: float, metadata: Mapping[str, str]) -> dict[str, Any]:
    told = {"object": "conversation", "created_at": int(created_at), "metadata": metadata}
    return {"id": id_, **told}


def kept_items(
    values: Sequence[Any], tail: str, before: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Items as they are told from now on, behind those that came `before`; `tail` is what their
    ids have in common."""
    there = {item["id"] for item in before}
    kept: list[dict[str, Any]] = []
    for index, value in enumerate(values):
        kept.append(_kept(value, f"{tail}_i{index}", there))
        there.add(kept[-1]["id"])
    return kept


def sealed_in(placed: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, str]]:
    """The summaries among these items that were sealed here. With each is the field it stands
    in."""
    for where, item in placed:
        if item.get("type") == "compaction" and is_sealed_here(item["encrypted_content"]):
            yield f"{where}.encrypted_content", item["encrypted_content"]


def turn_items(
    turn: TurnRequest,
    message_id: str,
    answer: Answer,
    finished: Finished,
    before: Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What a turn has added to its conversation: what it was asked, and its output as it is told in
    its response, whose id is made of this `message_id`."""
    asked = kept_items(_own(turn), message_id.removeprefix("msg_"), before)
    told = Events(turn, time)
    for delta in _deltas(message_id, answer):
        for _ in told.of(delta):
            pass  # the last event holds them all
    *_, last = told.of(finished)
    return [*asked, *last["response"]["output"]]


def preceded(turn: TurnRequest, items: Sequence[Mapping[str, Any]]) -> TurnRequest:
    """The turn as if its request had begun with these items. Raises `BadRequest`."""
    fields = {name: turn.echo[name] for name in _REPEATED if name in turn.echo}
    _refuse_references((place(item), item) for item in items)
    own = turn.given if isinstance(turn.given, str) else _own(turn)
    whole = turn_of({**fields, "model": turn.model, "input": own}, items)
    return replace(
        turn,
        messages=whole.messages,
        system=whole.system,
        items=whole.items,
        parameters=replace(turn.parameters, tools=whole.parameters.tools),
    )


def _check(items: list[Any]) -> None:
    check_items(items, "items")
    _refuse_references((f"items.{index}", item) for index, item in enumerate(items))


def _refuse_references(placed: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    for where, item in placed:
        if kind_of(item) == _REFERENCE:
            rule = "an item_reference cannot be kept in a conversation; send the item itself"
            raise refused(f"{where}.type", rule)


def _metadata(given: Mapping[str, Any] | None) -> dict[str, str]:
    pairs = given or {}
    if len(pairs) > _MOST_PAIRS:
        raise refused("metadata", f"must have at most {_MOST_PAIRS} pairs")
    if any(len(name) > _LONGEST_NAME for name in pairs):
        raise refused("metadata", f"must have keys of at most {_LONGEST_NAME} characters")
    if not all(isinstance(value, str) and len(value) <= _LONGEST_VALUE for value in pairs.values()):
        raise refused("metadata", f"must have strings of at most {_LONGEST_VALUE} characters")
    return dict(pairs)


def _kept(value: Mapping[str, Any], tail: str, there: Collection[str]) -> dict[str, Any]:
    """With an id of its own: clients send one item more than once, and page through a list by the
    ids. A call whose result is another item may be named there by the id that it has."""
    kind, given = kind_of(value), value.get("id")
    if kind in CALLS and given and given not in there:
        return dict(value)
    if (prefix := PREFIXES.get(kind)) is None:
        kept = {**value, "id": f"item_{tail}"}
        if kind == "local_shell_call_output":  # the one that has no other name for its call
            kept.setdefault("call_id", given)
        return kept
    kept = {"status": "completed", **value, "id": f"{prefix}_{tail}", "type": kind}
    if kind == "message" and isinstance(value["content"], str):
        kept["content"] = [_text(value["role"], value["content"])]
    return kept


def _text(role: str, text: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"type": "input_text", "text": text}


def _own(turn: TurnRequest) -> list[Any]:
    """The items of its request, and those that it only refers to."""
    if isinstance(turn.given, str):
        return [{"role": "user", "content": turn.given}]
    tools = {tool.name: tool for tool in turn.parameters.tools}
    referred = iter(turn.referred)
    own: list[Any] = []
    for item in turn.given:
        if kind_of(item) != _REFERENCE:
            own.append(item)
        elif is_told(item["id"]):
            own += items_of([Message("assistant", (next(referred),))], "", tools)
    return own


def _deltas(message_id: str, answer: Answer) -> Iterator[Said]:
    assert answer.started is not None
    yield replace(answer.started, message_id=message_id)
    for index, block in answer.blocks(lambda call: None).items():
        words = answer.written(index)
        match block["type"]:
            case "text":
                yield TextDelta(index, words)
            case "thinking":
                yield ThinkingDelta(index, words)
            case "tool_use":
                yield ToolCall(index, block["id"], block["name"])
                yield ToolInput(index, words)
