"""What is answered where no API is behind the proxy, read by the official clients' own models."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest
from anthropic.types import ModelInfo
from openai.types import Model as OpenAIModel

from sessionbridge.claude.catalog import Model
from sessionbridge.errors import BadRequest, ModelNotFound, NotFound
from sessionbridge.proxy.local_api import Inquiry, answer, inquiry, spoken

ANTHROPIC = {"anthropic-version": "2023-06-01"}
MODELS = (
    Model("default", "Default (recommended)", "claude-opus-5-5"),
    Model("sonnet", "Sonnet", "claude-sonnet-5-5"),
)
TABLE = (("gpt-*", "sonnet"), ("gpt-4o", "sonnet"), ("sonnet", "haiku"), ("o?", "opus"))


@pytest.mark.parametrize(
    ("path", "headers", "api"),
    [
        ("/v1/models", {}, "chat"),
        ("/v1/models", ANTHROPIC, "messages"),
        ("/v1/messages/count_tokens", {}, "messages"),
        ("/v1/messages", {}, "messages"),
        ("/v1/embeddings", {}, "chat"),
        ("/v1/files", ANTHROPIC, "messages"),
        ("/", {}, "chat"),
        ("/api/v1/models", {}, "chat"),
        ("/api/tags", {}, "ollama"),
        ("/api/generate/", {}, "ollama"),
    ],
)
def test_the_words_the_client_understands(path: str, headers: dict[str, str], api: str) -> None:
    assert spoken(path, headers) == api


@pytest.mark.parametrize(
    ("path", "one"),
    [
        ("/v1/models", None),
        ("/v1/models?limit=1000", None),
        ("/v1/models/sonnet", "sonnet"),
        ("/v1/models/sonnet%5B1m%5D?beta=true", "sonnet[1m]"),
        ("/v1/models/openai/gpt-4o", "openai/gpt-4o"),
        ("/v1/models/", None),
        ("//models", None),
        ("/models/sonnet", "sonnet"),
        ("/v1/v1/models", None),
        ("/api/v1/models", None),
        ("/openai/v1/models/sonnet", "sonnet"),
        ("/v1beta/openai/models", None),
        ("/openai/deployments/models/models", "models"),
    ],
)
def test_questions_about_models(path: str, one: str | None) -> None:
    assert inquiry("GET", path, {}) == Inquiry("chat", one)
    assert inquiry("GET", path, ANTHROPIC) == Inquiry("messages", one)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/sonnet"),
        ("GET", "/v1/modelsx"),
        ("GET", "/v1/model"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/embeddings"),
        ("POST", "/api/tags"),
        ("GET", "/api/show"),
        ("POST", "/api/generate"),
        ("GET", "/api/ps"),
        ("OPTIONS", "/v1/messages"),
        ("GET", "/"),
        ("GET", ""),
    ],
)
def test_all_else_is_not_there(method: str, path: str) -> None:
    with pytest.raises(NotFound, match="sessionbridge_upstream") as caught:
        inquiry(method, path, {})
    assert (caught.value.status, caught.value.code) == (404, None)
    assert ("Tokens are not counted" in caught.value.message) == path.endswith("_tokens")


def told(api: Any, one: str | None = None) -> Any:
    return json.loads(answer(Inquiry(api, one), MODELS, TABLE))


def test_the_messages_apis_list() -> None:
    page = told("messages")
    models = [ModelInfo.model_validate(entry) for entry in page["data"]]
    assert [(model.id, model.display_name) for model in models] == [
        ("default", "Default (recommended)"),
        ("sonnet", "Sonnet"),
        ("gpt-4o", "gpt-4o"),
    ]
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "default", "gpt-4o")
    assert told("messages", "sonnet") == page["data"][1]


def test_openais_list() -> None:
    page = told("chat")
    models = [OpenAIModel.model_validate(entry) for entry in page["data"]]
    assert page["object"] == "list"
    assert [model.id for model in models] == ["default", "sonnet", "gpt-4o"]
    assert told("chat", "gpt-4o") == page["data"][2]


def test_ollamas_list() -> None:
    assert inquiry("GET", "/api/tags", {}) == Inquiry("ollama")
    listed = ollama.ListResponse.model_validate(told("ollama"))
    assert [model.model for model in listed.models] == ["default", "sonnet", "gpt-4o"]
    assert inquiry("POST", "/api/show", {}, b'{"model": "sonnet"}') == Inquiry("ollama", "sonnet")
    shown = ollama.ShowResponse.model_validate(told("ollama", "sonnet"))
    assert shown.capabilities and "tools" in shown.capabilities
    assert inquiry("GET", "/api/version", {}) == Inquiry("ollama", version=True)
    assert json.loads(answer(Inquiry("ollama", version=True), (), ())).keys() == {"version"}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"model": 1}', b'{"model": " "}'])
def test_a_question_that_names_no_model(body: bytes) -> None:
    with pytest.raises(BadRequest):
        inquiry("POST", "/api/show", {}, body)


@pytest.mark.parametrize("model", ["gpt-*", "gpt-5", "Sonnet", "", "x\ny"])
def test_a_model_that_is_not_in_the_list(model: str) -> None:
    for api in ("messages", "chat", "ollama"):
        with pytest.raises(ModelNotFound, match="^model: ") as caught:
            told(api, model)
        assert "\n" not in caught.value.message


def test_a_cli_that_tells_nothing() -> None:
    page = json.loads(answer(Inquiry("messages"), (), ()))
    assert page == {"data": [], "has_more": False, "first_id": None, "last_id": None}
