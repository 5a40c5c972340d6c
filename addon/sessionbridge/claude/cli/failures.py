"""Turns what the CLI and its driver say about a failure into one of our errors.

The structured fields decide (`api_error_status`, `terminal_reason`, exception types), never words
found in a message: "too long: 140123 tokens" is no 401 although it holds those digits. The only
texts looked for are the CLI's own, for conditions it reports in no other way (measured with
2.1.332).
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from claude_agent_sdk import (
    CLIConnectionError,
    CLIJSONDecodeError,
    CLINotFoundError,
    ProcessError,
    RateLimitEvent,
    ResultError,
    ResultMessage,
)

from sessionbridge.claude.cli.limits import limit_headers, seconds_until_reset
from sessionbridge.claude.cli.quoting import quotable
from sessionbridge.errors import (
    ApiFailed,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    PromptTooLong,
    SessionLost,
    TooManyFiles,
)

_LOST = ("No conversation found with session ID", "No message found with message.uuid")
_NO_FILES = "EMFILE"
"""Of the CLI itself, whose limit is the proxy's."""

_TOO_LONG = ("prompt_too_long", "blocking_limit")  # said by the API, and by the CLI unasked
_UNKNOWN_OPTION = re.compile(r"unknown option '(--[a-z-]{1,40})")
_CHECK = (
    "see with `sessionbridge doctor`, on the proxy's machine, whether sessionbridge_claude names a "
    "Claude CLI that works."
)
_LOG_IN = (
    "The Claude CLI is not logged in; run `claude` once and use /login, or pass a key on with "
    "--set sessionbridge_claude_env=ANTHROPIC_API_KEY."
)


def from_result(
    result: ResultMessage,
    assistant_error: str | None,
    retry_delay_ms: int | None,
    limit: RateLimitEvent | None = None,
) -> BridgeError:
    """The error behind a result with `is_error`; the delay is of the CLI's last retry, if any, and
    `limit` what it has told of the limits of its login."""
    status, text = result.api_error_status, result.result or ""
    if result.terminal_reason in _TOO_LONG and status in (None, 400):
        return PromptTooLong(
            "prompt is too long: the conversation no longer fits the model; "
            "shorten it or start anew."
        )
    if status is None:
        return _without_status(result, assistant_error, limit)
    retry_after = math.ceil(retry_delay_ms / 1000) if retry_delay_ms else None
    said = f": {quotable(text)}" if text else ""
    message = f"The API behind the Claude CLI answered {status}{said}"
    if status == 429 and limit is not None:
        return _limited(message, limit, retry_after)
    return ApiFailed(
        status, message, retry_after=retry_after if status in (429, 503, 529) else None
    )


def _limited(message: str, limit: RateLimitEvent, retry_after: int | None) -> ApiFailed:
    reset = seconds_until_reset(limit, time.time())
    return ApiFailed(429, message, retry_after=reset or retry_after, headers=limit_headers(limit))


def still_waiting(status: object, seconds: float) -> ApiFailed:
    """Instead of a retry that would come too late for the client."""
    known = status if isinstance(status, int) and 400 <= status <= 599 else 503
    wait = math.ceil(seconds)
    return ApiFailed(
        known,
        f"The API behind the Claude CLI answered {known} and is to be asked again in {wait} s, "
        "which is longer than the first token may take; try again then.",
        retry_after=wait,
    )


def _without_status(
    result: ResultMessage, assistant_error: str | None, limit: RateLimitEvent | None
) -> BridgeError:
    """The API did not answer with an error: it was not asked, not reached, or broke off."""
    match assistant_error:
        case "authentication_failed":
            return NotLoggedIn(_LOG_IN)
        case "server_error":
            return ApiFailed(
                502, "The API behind the Claude CLI could not be reached, or broke off; try again."
            )
        case "rate_limit":
            message = "The Claude account behind the CLI has reached its limit; try again later."
            return _limited(message, limit, None) if limit else ApiFailed(429, message)
        case "billing_error":
            return ApiFailed(
                402, "The account behind the Claude CLI cannot pay for this; see to its billing."
            )
    if result.stop_reason == "refusal":
        return ApiFailed(400, "The model declined to answer (refusal); change the conversation.")
    if result.terminal_reason == "api_error":
        said = f": {quotable(result.result)}" if result.result else ""
        return ApiFailed(502, f"The API behind the Claude CLI gave no answer{said}; try again.")
    words = [result.result or "", *(result.errors or ())]
    reason = result.terminal_reason or result.subtype
    return _from_words(words, f"The Claude CLI gave this turn up ({reason}); try again.")


@contextmanager
def translated(stderr: Iterable[str], cli: str) -> Iterator[None]:
    """Within it, what the driver raises leaves as a `BridgeError`. `cli` names the program."""
    try:
        yield
    except BridgeError:
        raise
    except CLINotFoundError as error:
        raise ClaudeFailed(
            f"The Claude CLI was not found at {cli}; install it or set sessionbridge_claude."
        ) from error
    except CLIJSONDecodeError as error:
        if not isinstance(error.original_error, json.JSONDecodeError):
            raise ClaudeFailed(
                f"The Claude CLI at {cli} printed a line that is longer than the bridge reads; "
                "ask for less, and try again."
            ) from error
        raise ClaudeFailed(
            f"The Claude CLI at {cli} printed something that is not JSON; {_CHECK}"
        ) from error
    except ResultError as error:
        reason = error.subtype or "without a reason"
        raise _from_words(
            [*error.errors, *stderr], f"The Claude CLI gave this turn up ({reason}); try again."
        ) from error
    except ProcessError as error:
        raise _from_words(stderr, _ended(error.exit_code, list(stderr), cli)) from error
    except CLIConnectionError as error:
        raise ClaudeFailed(_not_running(error, cli)) from error
    except Exception as error:
        if str(error).startswith("Control request timeout"):
            what = "has not said that it is ready"
        else:
            what = f"could not be talked to ({type(error).__name__})"
        raise ClaudeFailed(f"The Claude CLI at {cli} {what}; {_CHECK}") from error


def _from_words(words: Iterable[str], otherwise: str) -> BridgeError:
    for word in words:
        if any(lost in word for lost in _LOST):
            return SessionLost("The Claude CLI no longer has this session.")
        if _NO_FILES in word:
            return TooManyFiles()
    return ClaudeFailed(otherwise)


def _ended(code: int | None, stderr: Iterable[str], cli: str) -> str:
    """Its own words are not told: they may quote anything."""
    for line in stderr:
        if unknown := _UNKNOWN_OPTION.search(line):
            return (
                f"The Claude CLI at {cli} does not know the option {unknown[1]}; install another "
                "version, which `sessionbridge doctor` names."
            )
    if code is not None and code < 0:
        return (
            f"The Claude CLI at {cli} was killed (signal {-code}) before its answer was whole; try "
            "again, and see whether the proxy's machine has run out of memory."
        )
    return (
        f"The Claude CLI at {cli} ended by itself (exit code {code}) before its answer was whole; "
        f"try again, and if that does not help {_CHECK}"
    )


def _not_running(error: CLIConnectionError, cli: str) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        what = f"could not be run ({cause.strerror})"
    else:
        what = "ended before it was asked"
    return f"The Claude CLI at {cli} {what}; {_CHECK}"
