"""`docs/fields.md` says what becomes of every field and endpoint of the official packages, and each
row is what happens: that of a newer package which is in none of them is found here."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import anthropic
import openai
import pytest
from mitmproxy import http
from openai.types.conversations.conversation_create_params import ConversationCreateParams
from openai.types.conversations.conversation_update_params import ConversationUpdateParams
from openai.types.conversations.item_create_params import ItemCreateParams
from openai.types.conversations.item_list_params import ItemListParams
from openai.types.conversations.item_retrieve_params import ItemRetrieveParams
from openai.types.responses.input_item_list_params import InputItemListParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_retrieve_params import ResponseRetrieveParamsStreaming
from openai.types.responses.responses_client_event_param import ResponsesClientEventParam

from sessionbridge.apis import SUMMARIES
from sessionbridge.errors import BadRequest
from tests.support.addon_fixtures import (
    HELLO,
    KEYED,
    Proxy,
    is_bridged,
    make_flow,
    proxy,
    refusal,
)
from tests.support.field_table import Endpoint, Signs, endpoints, signs
from tests.support.request_examples import APIS, FRAMES
from tests.support.request_outcomes import Outcome, outcome, paths, sent_by
from tests.support.request_types import hints_of, value_of

__all__ = ["proxy"]

TABLES: dict[str, Signs] = {
    name: signs(*(["Responses"] if name == "WebSocket" else []), name) for name in APIS
}


@pytest.mark.parametrize("name", APIS)
def test_every_field_of_the_official_package_has_a_row(name: str) -> None:
    table = TABLES[name]
    assert sorted(paths(APIS[name], table)) == sorted(table.of)


ROWS = [(name, path) for name, table in TABLES.items() for path in table.of]


@pytest.mark.parametrize("name, path", ROWS, ids=["-".join(row) for row in ROWS])
def test_a_field_has_the_effect_that_its_row_says(name: str, path: str) -> None:
    table = TABLES[name]
    found = outcome(APIS[name], path, table)
    assert sign(found) == table.of[path].replace("≈", "✓"), found
    if found.refused is not None:
        assert path.startswith(found.refused.split(".")[0])
    if found.ignored:
        assert any(is_named(path, told) for told in found.ignored), found.ignored


def sign(found: Outcome) -> str:
    if found.refused is not None:
        return "400"
    if found.ignored:
        return "–"
    return "✓" if found.changes else "·"


def is_named(path: str, told: str) -> bool:
    """By its own path, that of what it is in, or one that leaves out the `function` of a tool."""
    own = path.rpartition(".")[2] == told.rpartition(".")[2]
    return path == told or path.startswith(f"{told}.") or own


def test_a_frame_of_another_kind_is_an_error() -> None:
    assert value_of(ResponsesClientEventParam).kinds == ["response.create", "response.steer"]
    with pytest.raises(BadRequest, match="response.create or response.cancel"):
        FRAMES.effect(FRAMES.send(FRAMES.base | {"type": "response.steer"}))


FURTHER = {
    "responses.retrieve": ResponseRetrieveParamsStreaming,
    "responses.input_items.list": InputItemListParams,
    "responses.compact": ResponseCompactParams,
    "conversations.create": ConversationCreateParams,
    "conversations.update": ConversationUpdateParams,
    "conversations.items.create": ItemCreateParams,
    "conversations.items.list": ItemListParams,
    "conversations.items.retrieve": ItemRetrieveParams,
}
COMPACTED: dict[str, Any] = {
    "model": "another",
    "input": "Ho",
    "instructions": "Be brief.",
    "previous_response_id": "resp_sb1",
    "prompt_cache_key": "x",
    "prompt_cache_retention": "24h",
    "image": {"detail": "low"},
    "prompt_cache_options": {"mode": "explicit"},
    "service_tier": "priority",
}


def test_every_field_of_the_further_requests_has_a_row() -> None:
    found = [f"{name}.{field}" for name, form in FURTHER.items() for field in hints_of(form)]
    assert sorted(found) == sorted(signs("Further requests").of)


@pytest.mark.parametrize("field", COMPACTED)
def test_what_is_to_be_compacted_is_asked_as_its_row_says(field: str) -> None:
    base = {"model": "m", "input": "Hi"}
    plain, asked = (
        SUMMARIES["responses"].parse(json.dumps(body).encode())
        for body in (base, base | {field: COMPACTED[field]})
    )
    found = Outcome(asked != plain, set(asked.ignored) - set(plain.ignored))
    assert sign(found) == signs("Further requests").of[f"responses.compact.{field}"]


CLIENTS = anthropic.Anthropic(api_key="x"), openai.OpenAI(api_key="x")
ENDPOINTS = list(endpoints())


def methods(resource: Any, name: str) -> Iterator[str]:
    """The public methods of a resource of an official client, and of those in it."""
    for part in sorted(dir(type(resource))):
        if part.startswith(("_", "with_")):
            continue
        if inspect.isfunction(inspect.getattr_static(type(resource), part)):
            yield f"{name}.{part}"
        elif hasattr(getattr(resource, part), "_client"):
            yield from methods(getattr(resource, part), f"{name}.{part}")


def test_every_endpoint_of_the_official_packages_has_a_row() -> None:
    claude, gpt = CLIENTS
    found = [
        *methods(claude.messages, "messages"),
        *methods(claude.beta.messages, "beta.messages"),
        *methods(gpt.chat.completions, "chat.completions"),
        *methods(gpt.responses, "responses"),
        *methods(gpt.conversations, "conversations"),
    ]
    listed = [method for endpoint in ENDPOINTS for method in endpoint.methods]
    assert sorted(found) == sorted(listed)


ASKED = [(name, endpoint) for endpoint in ENDPOINTS for name in endpoint.methods]


@pytest.mark.parametrize("name, endpoint", ASKED, ids=[name for name, _ in ASKED])
def test_a_method_of_a_client_asks_the_endpoint_of_its_row(name: str, endpoint: Endpoint) -> None:
    if endpoint.method == "WebSocket":
        return  # it would be connected to
    sent = sent_by(lambda *clients: called(clients, name))
    assert (sent.method, unquote(sent.path)) == (endpoint.method, endpoint.path)


@pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=[f"{one.method} {one.path}" for one in ENDPOINTS]
)
async def test_an_endpoint_is_answered_as_its_row_says(proxy: Proxy, endpoint: Endpoint) -> None:
    flow = await proxy.request(flow_to(endpoint))
    if endpoint.sign == "✓":
        # It goes to the gateway, is answered at once, or what has that id was looked for.
        if not is_bridged(flow) and flow.response and flow.response.status_code == 404:
            assert any(id_ in refusal(flow)[1]["error"]["message"] for id_ in GIVEN_HERE.values())
        assert is_bridged(flow) or flow.response
        return
    assert flow.response is None and not is_bridged(flow)
    proxy.set(sessionbridge_upstream=False)
    assert refusal(await proxy.request(flow_to(endpoint)))[0] == 404


GIVEN_HERE = {"response_id": "resp_sb1", "conversation_id": "conv_sb1"}
UPGRADE = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def flow_to(endpoint: Endpoint) -> http.HTTPFlow:
    host = "anthropic" if endpoint.path.startswith("/v1/messages") else "openai"
    path = endpoint.path.format_map(dict.fromkeys(IDS, "x") | GIVEN_HERE)
    upgrade = endpoint.method == "WebSocket"
    headers = KEYED | (UPGRADE if upgrade else {})
    return make_flow(
        headers | {"host": f"api.{host}.com"},
        HELLO if endpoint.method == "POST" else b"",
        method=b"GET" if upgrade else endpoint.method.encode(),
        host=f"api.{host}.com",
        path=path.encode(),
    )


IDS = ("message_batch_id", "completion_id", "item_id")


def called(clients: tuple[anthropic.Anthropic, openai.OpenAI], name: str) -> None:
    """Calls the method with each argument's own name for its value."""
    client: Any = clients[0 if "messages" in name.split(".")[:2] else 1]
    for part in name.split("."):
        client = getattr(client, part)
    needed = [
        parameter
        for parameter in inspect.signature(client).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    given = {one.name: SPECIAL.get(one.name, f"{{{one.name}}}") for one in needed}
    if name == "responses.stream":
        given = {"model": "m", "input": "Hi"}
    answer = client(**given)
    match name.rpartition(".")[2]:
        case "stream":
            with answer:
                pass
        case "thread":
            answer.send("Hi", **SPECIAL)
        case "tool_runner":
            answer.until_done()


SPECIAL: dict[str, Any] = {"max_tokens": 1}
