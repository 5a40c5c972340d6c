"""What the bridge does with a field of a request, found out by asking it: the official client sends
the field, the API's own parser reads what has left, and the turn is compared with that of the
request without the field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai

from sessionbridge.apis import FRAMES, SHAPES
from sessionbridge.apis.openai_responses.websocket import prepared
from sessionbridge.errors import BadRequest
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.frames import read
from sessionbridge.turns.naming import fields_of, named_by
from sessionbridge.turns.worker import Worker
from tests.support.field_table import Signs
from tests.support.request_types import Value, another, example, hints_of, least, value_of

Fields = dict[str, Any]
Effect = tuple[Any, Collection[str]]
"""What comes of a request, and what of it is named as ignored."""

ORIGINS = Origins.default()


class Sent(NamedTuple):
    method: str
    path: str
    body: bytes


def sent_by(call: Callable[[anthropic.Anthropic, openai.OpenAI], object]) -> Sent:
    """What leaves when the official clients are used in this way. They get no answer."""
    requests: list[httpx2.Request] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(400, json={})

    with httpx2.Client(transport=httpx2.MockTransport(refuse)) as http:
        clients = (
            anthropic.Anthropic(api_key="x", max_retries=0, http_client=http),
            openai.OpenAI(api_key="x", max_retries=0, http_client=http),
        )
        with suppress(anthropic.BadRequestError, openai.BadRequestError):
            call(*clients)
    (request,) = requests
    return Sent(request.method, request.url.path, request.read())


@dataclass(frozen=True, slots=True)
class Api:
    """`form` is the official package's type of a request, `base` one with the least in it.

    `beside` are further fields of a request that has the field with this path, `requests` all that
    makes a difference in one, and `values` are examples where the type alone does not tell what is
    valid; a path that ends in `*` is for all objects there. `whole` are the paths of what is
    decided as a whole, `kinds_alone` those where kinds are decided and their fields are not.
    """

    form: Any
    base: Fields
    send: Callable[[Fields], bytes]
    effect: Callable[[bytes], Effect]
    beside: Mapping[str, Fields] = field(default_factory=dict)
    requests: Mapping[str, Fields] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    whole: Collection[str] = ()
    kinds_alone: Collection[str] = ()


class Outcome(NamedTuple):
    """`refused` is the field that is named in the refusal, "" for none of them."""

    changes: bool
    ignored: Collection[str]
    refused: str | None = None


def paths(api: Api, signs: Signs) -> Iterator[str]:
    """The paths of all fields, and of what is in those that are open."""
    for name, hint in hints_of(api.form).items():
        yield name
        yield from _below(api, name, hint, signs)


def _below(api: Api, path: str, hint: Any, signs: Signs) -> Iterator[str]:
    if path in api.whole or not signs.is_open(path):
        return
    value = value_of(hint)
    yield from (f"{path}.{choice}" for choice in value.choices)
    if path in api.kinds_alone:
        return
    for name, inner in value.fields(_of_no_use(value, path, signs)).items():
        if name not in value.choices:
            yield f"{path}.{name}"
        yield from _below(api, f"{path}.{name}", inner, signs)


def _of_no_use(value: Value, path: str, signs: Signs) -> set[str]:
    return {kind for kind in value.kinds if not signs.is_taken(f"{path}.{kind}")}


def outcome(api: Api, path: str, signs: Signs) -> Outcome:
    beside = api.base
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        beside = beside | api.beside.get(".".join(parts[:end]), {})
    asked = api.requests.get(path) or _asked(api, parts, signs)
    without = {} if path in api.requests else _asked_without(api, parts, signs)
    bare, already = api.effect(api.send(beside))
    try:
        after, ignored = api.effect(api.send(beside | asked))
    except BadRequest as error:
        return Outcome(True, (), error.param or "")
    try:
        before, already = api.effect(api.send(beside | without)) if without else (bare, already)
    except BadRequest:
        before = None  # another value is none that is valid
    return Outcome(before != after, set(ignored) - set(already))


def _asked(api: Api, parts: list[str], signs: Signs) -> Fields:
    name, *rest = parts
    return {name: _with(api, hints_of(api.form)[name], name, rest, signs)}


def _asked_without(api: Api, parts: list[str], signs: Signs) -> Fields:
    """All that is asked but for the last of the path; nothing where that is one among several, or
    the field itself."""
    name, *rest = parts
    hint = hints_of(api.form)[name]
    if not rest or _is_choice(hint, rest):
        return {}
    return {name: _with(api, hint, name, rest, signs, but_last=True)}


def _is_choice(hint: Any, rest: list[str]) -> bool:
    value = value_of(hint)
    if len(rest) == 1:
        return rest[0] in value.choices
    return _is_choice(value.fields()[rest[0]], rest[1:])


def _with(
    api: Api, hint: Any, path: str, rest: list[str], signs: Signs, *, but_last: bool = False
) -> Any:
    """A value that has what the `rest` of the path leads to; `but_last` one without that, or with
    another where it has to be there."""
    if not rest:
        return example(hint, path, api.values)
    value, name = value_of(hint), rest[0]
    if rest == [name] and name in value.kinds:
        return value.listed(least(name, value.forms[name][0], path, api.values))
    if rest == [name] and name in value.words:
        return value.listed(name)
    kind, form = value.form_with(name, _of_no_use(value, path, signs))
    found = least(kind, form, path, api.values)
    if rest != [name] or not but_last:
        inner = hints_of(form)[name]
        found[name] = _with(api, inner, f"{path}.{name}", rest[1:], signs, but_last=but_last)
    elif name in found:
        found[name] = another(found[name])
    return value.listed(found)


def effect_of(api: str) -> Callable[[bytes], Effect]:
    """All that comes of a request but what the answer repeats of it."""

    def effect(body: bytes) -> Effect:
        turn = SHAPES[api].parse(body)
        named = named_by(ORIGINS, {}, fields_of(body))
        return (replace(turn, ignored=(), echo={}), turn.items, named), turn.ignored

    return effect


def effect_of_frame(body: bytes) -> Effect:
    frame = asyncio.run(read(ORIGINS, {}, body, Worker()))
    if not frame.generates:
        return (frame, prepared(body, None)[1]), ()
    turn = FRAMES["responses"].parse(body)
    return (frame, replace(turn, ignored=(), echo={})), turn.ignored
