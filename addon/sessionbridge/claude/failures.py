"""Turns what the CLI and its driver say about a failure into one of our errors.

The structured fields decide (`api_error_status`, `terminal_reason`, exception types), never words
found in a message: "too long: 140123 tokens" is no 401 although it holds those digits. The only
texts looked for are the CLI's own, for conditions it reports in no other way (measured).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from claude_agent_sdk import (
    ClaudeSDKError,
    CLIJSONDecodeError,
    CLINotFoundError,
    ProcessError,
    ResultError,
    ResultMessage,
)

from sessionbridge.errors import (
    ApiFailed,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    PromptTooLong,
    SessionLost,
)

_LOST = ("No conversation found with session ID", "No message found with message.uuid")
_SECRET = re.compile(r"\b(sk|pk|key|Bearer)[-_ ][\w.-]{8,}", re.I)
_LOG_IN = (
    "The Claude CLI is not logged in; run `claude` once and use /login, or pass a key on with "
    "--set sessionbridge_claude_env=ANTHROPIC_API_KEY."
)


def from_result(
    result: ResultMessage, assistant_error: str | None, retry_delay_ms: int | None
) -> BridgeError:
    """The error behind a result with `is_error`; the delay is of the CLI's last retry, if any."""
    status, text = result.api_error_status, result.result or ""
    if status is None:
        if assistant_error == "authentication_failed":
            return NotLoggedIn(_LOG_IN)
        if result.terminal_reason == "prompt_too_long":
            return PromptTooLong(_too_long())
        return _from_words([text, *(result.errors or ())], result.subtype)
    if status == 400 and result.terminal_reason == "prompt_too_long":
        return PromptTooLong(_too_long())
    retry_after = math.ceil(retry_delay_ms / 1000) if retry_delay_ms else None
    said = f": {_quotable(text)}" if text else ""
    return ApiFailed(
        status,
        f"The API behind the Claude CLI answered {status}{said}",
        retry_after=retry_after if status in (429, 503, 529) else None,
    )


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
        raise ClaudeFailed(
            f"The Claude CLI at {cli} printed something that is not JSON."
        ) from error
    except ResultError as error:
        raise _from_words([*error.errors, *stderr], error.subtype) from error
    except ProcessError as error:
        raise _from_words(stderr, f"exit code {error.exit_code}") from error
    except ClaudeSDKError as error:
        raise ClaudeFailed(_not_started(error, cli)) from error
    except Exception as error:
        # The driver raises plain Exception for a control request that was never answered.
        raise ClaudeFailed(f"The Claude CLI at {cli} failed ({type(error).__name__}).") from error


def _from_words(words: Iterable[str], otherwise: str | None) -> ClaudeFailed:
    for word in words:
        if any(lost in word for lost in _LOST):
            return SessionLost("The Claude CLI no longer has this session.")
    return ClaudeFailed(f"The Claude CLI failed ({otherwise or 'no reason given'}); try again.")


def _not_started(error: ClaudeSDKError, cli: str) -> str:
    cause = error.__cause__
    why = cause.strerror if isinstance(cause, OSError) else type(cause or error).__name__
    return f"The Claude CLI at {cli} could not be run ({why}); check sessionbridge_claude."


def _too_long() -> str:
    return (
        "prompt is too long: the conversation no longer fits the model; shorten it or start anew."
    )


def _quotable(text: str) -> str:
    """The API's own words, short, and without anything that looks like a key."""
    return _SECRET.sub("[removed]", " ".join(text.split()))[:300]
