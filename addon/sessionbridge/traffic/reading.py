"""Any LLM request and its answer, as a person reads them, whoever answered.

Promises: nothing is raised, whatever the bytes are; time grows with their number alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from sessionbridge.addresses import plain_path
from sessionbridge.apis.anthropic_messages import reading as anthropic_messages
from sessionbridge.apis.common.json_values import Fields, fields, load
from sessionbridge.apis.common.reading import AnswerRead, RequestRead, Unread
from sessionbridge.apis.ollama_chat import reading as ollama_chat
from sessionbridge.apis.openai_chat import reading as openai_chat
from sessionbridge.apis.openai_responses import reading as openai_responses
from sessionbridge.model import Block, Message, Usage
from sessionbridge.traffic.sse import events, is_stream


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request and its answer say. What cannot be read is left out, or in its place a block
    of the type `unread`, and named in `unread`.

    `model` is the one that answered, else the one asked for. `messages` are as the client cut them,
    `tools` the names it offers. `stop` is in the API's own word. `error` is the type and message of
    the API's error.
    """

    api: str
    model: str | None
    system: str
    messages: tuple[Message, ...]
    tools: tuple[str, ...]
    answer: tuple[Block, ...]
    stop: str | None
    usage: Usage | None
    error: str | None
    unread: tuple[str, ...]


class _Api(NamedTuple):
    path: str
    request: Callable[[Fields, Unread], RequestRead]
    document: Callable[[Fields, Unread], AnswerRead]
    stream: Callable[[Iterable[Fields], Unread], AnswerRead]


_APIS = {
    name: _Api(path, module.request, module.document, module.stream)
    for name, path, module in (
        ("messages", "/v1/messages", anthropic_messages),
        ("chat", "/chat/completions", openai_chat),
        ("responses", "/responses", openai_responses),
        ("ollama", "/api/chat", ollama_chat),
    )
}


ENDS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
"""The types of the events that end an answer of the Responses API."""


def api_of(path: str) -> str | None:
    """The API spoken at a path, by the path's end: servers differ in what comes before."""
    plain = plain_path(path)
    return next((name for name, api in _APIS.items() if plain.endswith(api.path)), None)


def read(api: str, request: bytes | None, response: bytes | None, content_type: str) -> Reading:
    """`content_type` is the response's. An `api` that is not known reads nothing."""
    unread = Unread()
    asked, told = RequestRead("", "", (), ()), AnswerRead()
    if known := _APIS.get(api):
        asked = known.request(_request(request, unread), unread)
        told = _answer(known, response, content_type, unread)
    return Reading(
        api=api,
        model=told.model or asked.model or None,
        system=asked.system,
        messages=asked.messages,
        tools=asked.tools,
        answer=told.answer,
        stop=told.stop or None,
        usage=told.usage,
        error=told.error,
        unread=unread.names,
    )


def sums(body: bytes, api: str, content_type: str) -> Reading:
    """What there is to count of an answer; not what it says, which may be large."""
    return replace(read(api, None, body, content_type), answer=())


def sums_of_event(event: bytes) -> Reading | None:
    """The same of one that comes on a WebSocket. None for an event that ends no answer."""
    told = fields(load(event))
    if f'"{told.get("type")}"'.encode() not in ENDS:
        return None
    return sums(json.dumps(fields(told.get("response"))).encode(), "responses", "application/json")


def _request(body: bytes | None, unread: Unread) -> Fields:
    value = fields(load(body or b""))
    if body and not value:
        unread.note("the request: no JSON object")
    return value


def _answer(api: _Api, body: bytes | None, content_type: str, unread: Unread) -> AnswerRead:
    if not body:
        return AnswerRead()
    if is_stream(body):
        return api.stream(_values(body, unread), unread)
    if value := fields(load(body)):
        return api.document(value, unread)
    if documents := [*_lines(body, unread)]:
        return api.stream(documents, unread)
    unread.note(f"the answer: no JSON object ({content_type or 'of no content type'})")
    return AnswerRead()


def _lines(body: bytes, unread: Unread) -> Iterator[Fields]:
    """A stream of documents, one in a line (https://github.com/ndjson/ndjson-spec). Nothing where
    the first is none."""
    for number, line in enumerate(body.splitlines()):
        if value := fields(load(line)):
            yield value
        elif number == 0:
            return
        elif line.strip():
            unread.note("a line that is cut off, or no JSON object")


def _values(stream: bytes, unread: Unread) -> Iterator[Fields]:
    """What the events hold; the type of one that has none is its name."""
    for event in events(stream):
        if event.data == "[DONE]":
            continue
        if value := fields(load(event.data)):
            yield value if "type" in value else {"type": event.name, **value}
        else:
            unread.note("an event that is cut off, or no JSON object")
