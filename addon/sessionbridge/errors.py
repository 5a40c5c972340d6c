"""One tree of errors. Each has an HTTP status and one sentence for the person at the client.

The sentence says what happened, with which value, and what to do next. It never holds a prompt, an
answer, a key or a token. Each API shape turns status and `code` into its own error body.

    BridgeError                 500
    ├── BadRequest              400   the client's request, naming the field
    │   ├── PromptTooLong       400   the conversation no longer fits the model
    │   ├── CompactionRefused   400   a conversation that cannot be summarised, or its summary
    │   ├── ResponseNotFound    400   the response that a request goes on from is not known
    │   ├── ThreadsUnsupported  400   a conversation that cannot be kept (clients do without)
    │   ├── ThreadMismatch      400   a field that differs from what its thread has
    │   └── ThreadInFlight      400   a response that another request is going on from
    ├── NotLoggedIn             401   the Claude CLI has no credentials
    │   └── SecretMissing       401   a secret is not where the provider's config says
    ├── Unauthorized            401   a client's token is wrong, or there is none and must be
    ├── Refused                 403   a caller or page that may not use the bridge
    ├── NotFound                404   nothing is at this address, and no API is behind it
    │   ├── ConversationNotFound 404  a conversation that other credentials began
    │   ├── ItemNotFound        404   an earlier answer that a request only names
    │   ├── ThreadNotFound      404   the response that a thread is to go on from is not known
    │   └── ModelNotFound       404   a model name that is not to be run
    ├── MemoryLost              409   a conversation kept here is gone, and that is to be an error
    ├── NotMoved                409   a provider that cannot take up another's conversation
    ├── ProviderGone            409   a provider that has what this goes on from left the config
    ├── RequestTooLarge         413   a body that is larger than any API takes
    ├── UnknownEncoding         415   a body in a content coding that is not known here
    ├── NoWebSocket             426   an upgrade that nothing answers (clients go on by POST)
    ├── RateLimited             429   as many turns as a client or a provider may begin
    │   ├── PlanShareReached    429   as much of a login's plan is used as the bridge may use
    │   └── OverBudget          429   a turn that may use more than is left of a budget
    ├── HeadersTooLarge         431   headers that no server takes
    ├── StoreUnavailable        503   the database, or Claude's file, is locked, read-only or full
    ├── ShuttingDown            503   the proxy takes no turns any more
    ├── OptionsChanged          503   the options are others since the request came
    ├── TooManyFiles            503   the process has no file descriptors left
    ├── Overloaded              529   no room to wait; each API shape has a status of its own for it
    │   └── ConversationBusy    529   nor for a turn before this one in its conversation
    ├── ApiFailed               as reported by the API behind the CLI
    ├── ClaudeFailed            502   the CLI is missing, crashed, or printed nonsense
    │   └── SessionLost         502   the CLI has no such session (retried without it)
    │       └── ToolsLost       502   nor the process that waited for tool results (likewise)
    ├── AnswerUnfit             502   an answer that the API it was asked in cannot tell
    └── TimedOut                504   no first token, or no end, in time
"""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from typing import Literal

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

_NOT_AGAIN = (("x-should-retry", "false"),)
"""Libraries would try again at once, in vain or against the client's will, but for this header,
which those of Anthropic and OpenAI obey. They do so after 409, too."""


class BridgeError(Exception):
    """Base of all errors that reach a client. `param` names the field that it is about, where it is
    one; `retry_after` is in seconds, `headers` are what else of the response's the API has told
    with it."""

    status = 500
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after


class BadRequest(BridgeError):
    """The request cannot be served as it is."""

    status = 400

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class PromptTooLong(BadRequest):
    code = "context_length_exceeded"


class CompactionRefused(BadRequest):
    """Its `code` is one of the API's own."""


class ResponseNotFound(BadRequest):
    code = "previous_response_not_found"


class ThreadsUnsupported(BadRequest):
    """`unsupported` names what of the request a thread cannot have; empty where it is none."""

    code = "thread_unsupported_request"

    def __init__(
        self, message: str, *, param: str | None = None, unsupported: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, param=param)
        self.unsupported = unsupported


class ThreadMismatch(BadRequest):
    code = "thread_fingerprint_mismatch"


class ThreadInFlight(BadRequest):
    code = "thread_continue_in_flight"


class NotLoggedIn(BridgeError):
    status = 401


class SecretMissing(NotLoggedIn):
    """Where it should be is for the administrator to know (`found`), and for no client."""

    def __init__(self, provider: str, found: str) -> None:
        super().__init__(
            f"The provider {provider} is without a secret that its config names; the proxy's log "
            "says which, and so does sessionbridge doctor --config FILE."
        )
        self.found = f"The provider {provider} has no {found}"


class Unauthorized(BridgeError):
    status = 401


class Refused(BridgeError):
    status = 403


class NotFound(BridgeError):
    status = 404


class ConversationNotFound(NotFound):
    pass


class ItemNotFound(NotFound):
    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


class ThreadNotFound(NotFound):
    """Unknown, forgotten, somebody else's, no thread's: it says the same of all."""

    code = "thread_not_found"

    def __init__(
        self,
        message: str = "thread.previous_message_id: no thread is kept under this id; send the "
        'whole conversation with thread: {"type": "create"}.',
    ) -> None:
        super().__init__(message)


class ModelNotFound(NotFound):
    code = "model_not_found"


class ProviderGone(BridgeError):
    status = 409
    headers = _NOT_AGAIN

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"This goes on from what the provider {provider} has, which is no longer in the "
            f"config: have [providers.{provider}] put back there, or begin anew, under another id "
            "or with X-SessionBridge-New: 1."
        )


class RequestTooLarge(BridgeError):
    status = 413


class UnknownEncoding(BridgeError):
    status = 415


class NoWebSocket(BridgeError):
    status = 426


class RateLimited(BridgeError):
    """`of` says whose limit it is: with another provider it would be another one. `retry_after` is
    None where waiting does not help."""

    status = 429

    def __init__(
        self, message: str, *, of: Literal["client", "provider"], retry_after: int | None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.of = of


class PlanShareReached(RateLimited):
    headers = _NOT_AGAIN


class OverBudget(RateLimited):
    headers = _NOT_AGAIN


class HeadersTooLarge(BridgeError):
    status = 431


class MemoryLost(BridgeError):
    status = 409
    headers = _NOT_AGAIN


class NotMoved(BridgeError):
    status = 409
    headers = _NOT_AGAIN


class StoreUnavailable(BridgeError):
    status = 503


class ShuttingDown(BridgeError):
    status = 503
    retry_after = 1


class OptionsChanged(BridgeError):
    status = 503
    retry_after = 1


class TooManyFiles(BridgeError):
    """Whatever it was that could not be opened is not to blame."""

    status = 503
    retry_after = 5

    def __init__(self) -> None:
        super().__init__(
            f"The proxy has no file descriptors left{_limit()}; raise its limit with ulimit -n, or "
            "let fewer turns run at once with sessionbridge_concurrency and sessionbridge_live."
        )


class Overloaded(BridgeError):
    """As many turns wait as may. `retry_after` is about as long as a short turn takes."""

    status = 529
    retry_after = 5


class ConversationBusy(Overloaded):
    """With another provider the turn would wait for the same one."""


class ApiFailed(BridgeError):
    """The API behind the CLI answered with an error; its status is passed on."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.headers = headers


class Unreachable(BridgeError):
    """A request that was to pass could not."""

    status = 502


class ClaudeFailed(BridgeError):
    status = 502


class SettingRefused(ClaudeFailed):
    """The CLI does not take a setting while it runs."""


class FeedRefused(ClaudeFailed):
    """The CLI asks the model about a message it was only to take over."""


class SessionLost(ClaudeFailed):
    """The CLI does not know the session id or the entry it was told to continue from."""


class ToolsLost(SessionLost):
    """The process that waited for the results of the client's tools is gone."""


class AnswerUnfit(BridgeError):
    status = 502


class TimedOut(BridgeError):
    status = 504


def is_unable(failure: BridgeError) -> bool:
    """Whether a provider could not answer: it is at its limit, or down. Whatever is wrong with the
    request is so for the others, too."""
    match failure:
        case ConversationBusy():
            return False
        case NotLoggedIn() | ClaudeFailed() | Overloaded() | NotMoved():
            return True
        case RateLimited(of=whose):
            return whose == "provider"
        case ApiFailed(status=status):
            return status in (401, 402, 403, 429) or status >= 500
    return False


def presentable(error: Exception) -> BridgeError:
    """An error of ours as it is; any other by its kind and place only, for its text may quote the
    conversation. What came of a lack of file descriptors is told as that."""
    if _lacks_files(error):
        return TooManyFiles()
    if isinstance(error, BridgeError):
        return error
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s, which is a fault of sessionbridge\n%s", type(error).__name__, where)
    # Not whether the model was asked: that depends on where it failed.
    return BridgeError(
        f"sessionbridge failed ({type(error).__name__}), a fault of its own; see the proxy's log."
    )


def _lacks_files(error: BaseException) -> bool:
    """Whether it was raised from an error that says so, however many others lie between."""
    known: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in known:
        known.add(id(cause))
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _limit() -> str:
    if sys.platform == "win32":
        return ""
    return f" (it may have {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"
