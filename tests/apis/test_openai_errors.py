"""Error responses of both OpenAI APIs, read by the official client."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    ItemNotFound,
    Overloaded,
    PromptTooLong,
    TimedOut,
)
from tests.apis import test_openai_chat_answer as chat
from tests.apis import test_openai_responses_client as responses

ASK: dict[str, Callable[..., object]] = {"chat": chat.ask, "responses": responses.ask}


@pytest.mark.parametrize("name", ASK)
@pytest.mark.parametrize(
    "error, kind, code, param, raised",
    [
        (BadRequest("x"), "invalid_request_error", None, None, openai.BadRequestError),
        (BadRequest("x", param="n"), "invalid_request_error", None, "n", openai.BadRequestError),
        (
            PromptTooLong("x"),
            "invalid_request_error",
            "context_length_exceeded",
            None,
            openai.BadRequestError,
        ),
        (
            PromptTooLong("x", param="messages"),
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
            openai.BadRequestError,
        ),
        (
            ApiFailed(401, "x"),
            "invalid_request_error",
            "invalid_api_key",
            None,
            openai.AuthenticationError,
        ),
        (
            ApiFailed(402, "x"),
            "insufficient_quota",
            "insufficient_quota",
            None,
            openai.APIStatusError,
        ),
        (ApiFailed(403, "x"), "request_forbidden", None, None, openai.PermissionDeniedError),
        (
            ItemNotFound("x", param="after"),
            "invalid_request_error",
            None,
            "after",
            openai.NotFoundError,
        ),
        (ApiFailed(404, "x"), "invalid_request_error", None, None, openai.NotFoundError),
        (
            ApiFailed(429, "x"),
            "rate_limit_error",
            "rate_limit_exceeded",
            None,
            openai.RateLimitError,
        ),
        (
            Overloaded("x"),
            "rate_limit_error",
            "rate_limit_exceeded",
            None,
            openai.RateLimitError,
        ),
        (ApiFailed(529, "x"), "server_error", None, None, openai.InternalServerError),
        (TimedOut("x"), "server_error", None, None, openai.InternalServerError),
        (BridgeError("x"), "server_error", None, None, openai.InternalServerError),
    ],
)
def test_an_error_body_has_the_type_and_code_of_its_status(
    name: str,
    error: BridgeError,
    kind: str,
    code: str | None,
    param: str | None,
    raised: type[openai.APIStatusError],
) -> None:
    shape = SHAPES[name]
    with pytest.raises(raised) as caught:
        ASK[name]([shape.error_body(error)], status=shape.status(error))
    assert caught.value.body == {"message": "x", "type": kind, "param": param, "code": code}
