from __future__ import annotations

from json import JSONDecodeError
from typing import Any

import pytest
from claude_agent_sdk import (
    CLIConnectionError,
    CLIJSONDecodeError,
    CLINotFoundError,
    ProcessError,
    ResultError,
    ResultMessage,
)

from sessionbridge.claude.cli.failures import from_result, translated
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    PromptTooLong,
    SessionLost,
)

PRIVATE = "what was said in private"


def failed(text: str | None = None, **fields: Any) -> ResultMessage:
    return ResultMessage("success", 1, 1, True, 1, "session", result=text, **fields)


def from_cli(
    text: str | None = None, error: str | None = None, delay: int | None = None, **fields: Any
) -> BridgeError:
    return from_result(failed(text, **fields), error, delay)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
def test_the_apis_status_is_passed_on(status: int) -> None:
    error = from_cli("API Error: no", api_error_status=status)
    assert isinstance(error, ApiFailed)
    assert error.status == status
    assert error.message == f"The API behind the Claude CLI answered {status}: API Error: no"


@pytest.mark.parametrize(
    ("status", "delay", "seconds"),
    [
        (429, 1, 1),
        (429, 30_000, 30),
        (429, 30_001, 31),
        (529, 500, 1),
        (503, 500, 1),
        (429, None, None),
        (429, 0, None),
        (500, 500, None),
        (401, 500, None),
    ],
)
def test_retry_after_is_told_where_waiting_helps(
    status: int, delay: int | None, seconds: int | None
) -> None:
    assert from_cli(api_error_status=status, delay=delay).retry_after == seconds


@pytest.mark.parametrize(
    ("reason", "status"),
    [("prompt_too_long", 400), ("prompt_too_long", None), ("blocking_limit", None)],
)
def test_too_long_is_the_clients_to_handle(reason: str, status: int | None) -> None:
    error = from_cli("Prompt is too long", terminal_reason=reason, api_error_status=status)
    assert isinstance(error, PromptTooLong)
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert error.message.startswith("prompt is too long")


@pytest.mark.parametrize(
    ("word", "kind", "status"),
    [
        ("authentication_failed", NotLoggedIn, 401),
        ("server_error", ApiFailed, 502),
        ("rate_limit", ApiFailed, 429),
        ("max_output_tokens", ClaudeFailed, 502),
        ("something new", ClaudeFailed, 502),
        (None, ClaudeFailed, 502),
    ],
)
def test_without_a_status_the_clis_own_word_decides(
    word: str | None, kind: type[BridgeError], status: int
) -> None:
    error = from_cli(PRIVATE, word)
    assert type(error) is kind
    assert error.status == status
    assert PRIVATE not in error.message


def test_a_refusal_is_not_to_be_tried_again() -> None:
    error = from_cli(PRIVATE, "invalid_request", stop_reason="refusal")
    assert (type(error), error.status) == (ApiFailed, 400)
    assert "refusal" in error.message


def test_numbers_in_a_text_decide_nothing() -> None:
    assert from_cli("too long: 140123 tokens, 429, 401, Not logged in").status == 502


LOST = ["No conversation found with session ID: x", "No message found with message.uuid of: y"]


@pytest.mark.parametrize("words", LOST)
def test_a_lost_session_is_recognised_wherever_it_is_said(words: str) -> None:
    assert isinstance(from_cli(errors=[words]), SessionLost)
    assert isinstance(from_cli(words), SessionLost)
    for error in (ResultError("x", {"errors": [words]}, 1), ProcessError("x", 1)):
        with pytest.raises(SessionLost), translated(["noise", words], "claude"):
            raise error


@pytest.mark.parametrize(
    "secret",
    ["sk-ant-api03-abcdefgh", "Bearer abcdefghijkl", "key_1234567890", "SK-ANT-XXXXXXXXXX"],
)
def test_a_quoted_text_is_short_and_without_keys(secret: str) -> None:
    error = from_cli(f"bad\n\n  {secret} " + "z" * 1000, api_error_status=401)
    assert secret not in error.message
    assert ": bad [removed] zzz" in error.message
    assert len(error.message) < 400


def os_error() -> CLIConnectionError:
    error = CLIConnectionError("Failed to start Claude Code")
    error.__cause__ = PermissionError(13, "Permission denied")
    return error


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (CLINotFoundError("gone"), "was not found at /bin/c"),
        (os_error(), "at /bin/c could not be run (Permission denied)"),
        (CLIConnectionError(PRIVATE), "at /bin/c ended before it was asked"),
        (
            CLIJSONDecodeError(PRIVATE, JSONDecodeError("", PRIVATE, 0)),
            "at /bin/c printed something that is not JSON",
        ),
        (CLIJSONDecodeError(PRIVATE, ValueError()), "at /bin/c printed a line that is longer"),
        (ProcessError(PRIVATE, 3, PRIVATE), "at /bin/c ended by itself (exit code 3) before its"),
        (ProcessError(PRIVATE, -9, PRIVATE), "at /bin/c was killed (signal 9) before its"),
        (ResultError(PRIVATE, {"subtype": "error_max_turns"}), "turn up (error_max_turns); try"),
        (RuntimeError(PRIVATE), "at /bin/c could not be talked to (RuntimeError)"),
        (Exception("Control request timeout: initialize"), "has not said that it is ready"),
        (TimeoutError(), "at /bin/c could not be talked to (TimeoutError)"),
    ],
)
def test_what_the_driver_raises_becomes_a_sentence_without_its_words(
    raised: Exception, sentence: str
) -> None:
    with pytest.raises(ClaudeFailed) as caught, translated([], "/bin/c"):
        raise raised
    assert sentence in caught.value.message
    assert any(advice in caught.value.message for advice in ("try again", "doctor", "install it"))
    assert PRIVATE not in caught.value.message
    assert caught.value.status == 502
    assert caught.value.__cause__ is raised


def test_an_option_that_it_does_not_know_is_named() -> None:
    said = ["noise", "error: unknown option '--system-prompt-snapshot'"]
    sentence = "option --system-prompt-snapshot; install another"
    with pytest.raises(ClaudeFailed, match=sentence), translated(said, "/bin/c"):
        raise ProcessError(PRIVATE, 1)


# --- what a client may read of it ---------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://gw.corp.example:4000/v1",
        "https://10.1.2.3/gw?key=1",
        "10.1.2.3",
        "10.1.2.3:4000",
        "litellm:4000",
        "gateway.internal",
        "llm.prod.svc",
        "localhost",
        "[fd00::12]:8080",
        "fe80::1",
        "::1",
    ],
)
def test_no_address_of_the_operators_is_told(address: str) -> None:
    error = from_cli(f"API Error: connect to ({address}) failed", api_error_status=502)
    assert error.message.endswith("502: API Error: connect to ([address]) failed")


def test_the_clis_advice_on_the_gateway_is_left_out() -> None:
    advice = "If it persists, check your inference gateway (llm.example.com)."
    error = from_cli(f"API Error: 502 Bad Gateway. {advice}", api_error_status=502)
    assert (
        error.message == "The API behind the Claude CLI answered 502: API Error: 502 Bad Gateway."
    )


@pytest.mark.parametrize(
    "words",
    [
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        "max_tokens: 64001 > 64000, which is too many for claude-sonnet-4.5 at 12:30:05",
        "model: us.anthropic.claude-opus-4-5-20251101-v1:0",
        "see https://docs.claude.com/en/api/errors",
    ],
)
def test_what_helps_the_client_is_told_as_it_is(words: str) -> None:
    assert from_cli(words, api_error_status=400).message.endswith(words)


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = BadRequest("no")
    with pytest.raises(BadRequest) as caught, translated([], "claude"):
        raise ours
    assert caught.value is ours


def test_a_cancellation_is_none_of_its_business() -> None:
    with pytest.raises(KeyboardInterrupt), translated([], "claude"):
        raise KeyboardInterrupt
