"""Errors as both of OpenAI's APIs tell them."""

from __future__ import annotations

import json
from typing import Any

from sessionbridge.errors import BridgeError, OverBudget, Overloaded

# Type and code by status. The reference (https://platform.openai.com/docs/guides/error-codes) lists
# no types; these are the ones its clients know from answers. 402 is no status of that API, which
# tells an empty account by this code.
ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("request_forbidden", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def status(error: BridgeError) -> int:
    """A limit of the bridge is told as this API tells its own; it has no status for overload."""
    return 429 if isinstance(error, Overloaded) else error.status


def error_body(error: BridgeError) -> bytes:
    return json.dumps(error_document(error)).encode()


def error_document(error: BridgeError) -> dict[str, Any]:
    other = "server_error" if status(error) >= 500 else "invalid_request_error"
    # A budget that is used up is told as an account that is.
    known = 402 if isinstance(error, OverBudget) else status(error)
    kind, code = ERRORS.get(known, (other, None))
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code or code,
        }
    }
