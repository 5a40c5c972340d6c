"""Names of a request stand in headers, metadata and sentences: whatever they are, those stay short,
of one line, and printable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sessionbridge.apis import SHAPES
from sessionbridge.apis.common.body import Fields
from sessionbridge.errors import BadRequest
from sessionbridge.names import few, printable, shown

Body = dict[str, Any]
NAMES = st.text() | st.text(min_size=200, max_size=300) | st.sampled_from(["a\r\nset-cookie: b"])


def is_safe(text: str, longest: int = 2_000) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= longest


@given(NAMES)
def test_a_word_is_shown_as_a_name_or_not_at_all(word: str) -> None:
    assert is_safe(shown(word), 66)
    assert len(printable(word)) <= 100 and printable(word).isprintable()


@given(st.lists(st.text(max_size=3), max_size=60))
def test_of_many_names_the_first_are_told_and_how_many_there_are(names: list[str]) -> None:
    told = few(names)
    assert len(told) <= 21
    assert list(told) == names or told == (*names[:20], f"({len(names) - 20} more)")


def asked(api: str, **fields: Any) -> Body:
    said = [{"role": "user", "content": "Hi"}]
    place = "input" if api == "responses" else "messages"
    return {"model": "sonnet", "max_tokens": 9, place: said, **fields}


def spoken(api: str, *said: Body) -> Body:
    place = "input" if api == "responses" else "messages"
    return asked(api) | {place: [*said, {"role": "user", "content": "Hi"}]}


def function(api: str, name: str) -> Body:
    if api == "messages":
        return {"name": name, "input_schema": {"type": "object"}}
    inner = {"name": name, "parameters": {"type": "object"}}
    return {"type": "function", **(inner if api == "responses" else {"function": inner})}


def calls(api: str, id_: str) -> list[Body]:
    """Calls without results."""
    if api == "messages":
        use = {"type": "tool_use", "id": id_, "name": "a", "input": {}}
        return [{"role": "assistant", "content": [use] * 300}]
    if api == "responses":
        return [{"type": "function_call", "call_id": id_, "name": "a", "arguments": ""}] * 300
    call = {"id": id_, "type": "function", "function": {"name": "a", "arguments": ""}}
    return [{"role": "assistant", "tool_calls": [call] * 300}]


PLACES: dict[str, Callable[[str, str], Body]] = {
    "field": lambda api, name: asked(api, **{name: 1}),
    "tool": lambda api, name: asked(api, tools=[function(api, name)] * 2),
    "tool's field": lambda api, name: asked(api, tools=[function(api, "a") | {name: 1}]),
    "tool's type": lambda api, name: asked(api, tools=[{"type": name, "name": "a"}]),
    "tool's format": lambda api, name: asked(
        api, tools=[{"type": "custom", "name": "a", "format": {"type": name}, "custom": {}}]
    ),
    "choice": lambda api, name: asked(
        api,
        tools=[function(api, "a")],
        tool_choice={"type": "tool" if api == "messages" else "function", "name": name}
        | {"function": {"name": name}},
    ),
    "schema": lambda api, name: asked(api, tools=[function(api, "a")], response_format=name),
    "message's field": lambda api, name: spoken(api, {"role": "user", "content": "Hi", name: 1}),
    "role": lambda api, name: spoken(api, {"role": name, "content": "Hi"}),
    "block's type": lambda api, name: spoken(
        api, {"role": "user", "content": [{"type": name, "text": "Hi"}]}
    ),
    "item's type": lambda api, name: spoken(api, {"type": name, "role": "user", "content": ""}),
    "source": lambda api, name: spoken(
        api, {"role": "user", "content": [{"type": "image", "source": {"type": name}}]}
    ),
    "calls": lambda api, name: spoken(api, *calls(api, name)),
    "result": lambda api, name: spoken(
        api,
        {"role": "assistant", "content": "Hi"},
        {"role": "tool", "tool_call_id": name, "content": "x"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name}]},
        {"type": "function_call_output", "call_id": name, "output": "x"},
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("api", SHAPES)
@settings(deadline=None, max_examples=20)
@given(name=NAMES)
def test_what_a_request_names_is_told_safely(api: str, place: str, name: str) -> None:
    body = json.dumps(PLACES[place](api, name)).encode()
    try:
        ignored = few(SHAPES[api].parse(body).ignored)
    except BadRequest as error:
        assert is_safe(error.message.replace("…", ""))
        assert is_safe(error.param or "", 100)
    else:
        assert all(is_safe(told, 100) for told in ignored)


# --- no names of ours ---------------------------------------------------------------------------


def kinds(annotation: Any) -> Iterator[Any]:
    """All that a value may be, lists and what is in them included."""
    yield annotation
    for inner in get_args(annotation):
        if not isinstance(inner, str):
            yield from kinds(inner)


def fields_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in model.__subclasses__():
        yield below
        yield from fields_of(below)


def test_no_field_is_tried_as_several_kinds() -> None:
    """pydantic would name the kind in the place of an error, by what it is called here."""
    fields = [field for model in fields_of(Fields) for field in model.model_fields.values()]
    assert fields
    for kind in [kind for field in fields for kind in kinds(field.annotation)]:
        if get_origin(kind) in (Union, UnionType):
            assert len([one for one in get_args(kind) if one is not type(None)]) == 1, kind


@pytest.mark.parametrize(
    ("api", "form", "field", "rule"),
    [
        ("chat", {"type": "regex"}, ".custom.format.type", "input should be 'text' or 'grammar'"),
        ("chat", {"type": "grammar"}, ".custom.format.grammar", "is required"),
        ("chat", "text", ".custom.format", "must be an object"),
        ("responses", {"type": "regex"}, ".format.type", "input should be 'text' or 'grammar'"),
        ("responses", {"type": "grammar"}, ".format.syntax", "is required"),
    ],
)
def test_the_form_of_a_custom_tool_is_refused_by_its_place(
    api: str, form: object, field: str, rule: str
) -> None:
    inner = {"name": "write", "format": form}
    tool = {"type": "custom", **({"custom": inner} if api == "chat" else inner)}
    with pytest.raises(BadRequest) as caught:
        SHAPES[api].parse(json.dumps(asked(api, tools=[function(api, "a"), tool])).encode())
    assert caught.value.message == f"tools.1{field}: {rule}"
    assert caught.value.param == f"tools.1{field}"
