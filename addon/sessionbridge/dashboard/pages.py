"""What is at each address of the dashboard. Every answer is a value; serving it is not done here.

The page has relative addresses only, so that it works wherever it is put. It shows what others
wrote: `CONTENT_SECURITY_POLICY` lets nothing run or load but what is here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from sessionbridge.allowances import Allowance
from sessionbridge.dashboard import documents
from sessionbridge.dashboard.metrics import Errors, exposition
from sessionbridge.dashboard.session_page import Kept, conversation
from sessionbridge.dashboard.state import State
from sessionbridge.errors import BadRequest, NotFound, presentable
from sessionbridge.model import SessionKey, scope_of
from sessionbridge.sessions.planning.memory import ReadMessages
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"
)
"""Styles of its own: plotly sets those of each plot."""

SPANS = {"24h": 24 * 3600.0, "7d": 7 * 24 * 3600.0, "30d": 30 * 24 * 3600.0, "all": None}
"""Seconds; None is everything."""

_FRESH = {"cache-control": "no-store"}
_LASTING = {"cache-control": "private, max-age=31536000, immutable"}
"""For what has its version in its address."""

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP answer. `headers` are those besides the content type."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _FRESH)


_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
# Where a document names no icon, as text does not, browsers ask for this one, or do not.
_AT = {"/page.html": ("/",), "/icon.svg": ("/icon.svg", "/favicon.ico")}


def _static() -> Iterator[tuple[str, Page]]:
    """Every file of this folder that is for browsers."""
    headers = _FRESH | {"content-security-policy": CONTENT_SECURITY_POLICY}
    for file in files(__package__).iterdir():
        if content_type := _TYPES.get(file.name.rpartition(".")[2]):
            text = file.read_text("utf-8").replace("{{plotly}}", version("plotly"))
            page = Page(200, content_type, text.encode(), headers)
            path = f"/{file.name}"
            yield from ((at, page) for at in _AT.get(path, (path,)))


_STATIC = dict(_static())


class Dashboard:
    """`reports` is the ledger, None where nothing is kept; `state` tells what goes on now, `said`
    what the sessions of a provider hold, `errors` what went wrong, `providers` what each may spend.
    Never raises: an error is a page as well."""

    def __init__(
        self,
        reports: StoreThread | None,
        state: Callable[[], State],
        said: Callable[[str], ReadMessages],
        errors: Errors,
        providers: Mapping[str, Allowance],
    ) -> None:
        self._reports = reports
        self._state = state
        self._said = said
        self._errors = errors
        self._providers = providers
        self._made: Mapping[str, Callable[[Query], Awaitable[Page]]] = {
            "/plotly.js": self._plotly,
            "/api/overview": self._overview,
            "/api/sessions": self._sessions,
            "/api/conversation": self._conversation,
            "/metrics": self._metrics,
        }

    async def answer(self, path: str, query: Query) -> Page:
        if page := _STATIC.get(path):
            return page
        try:
            if path not in self._made:
                raise NotFound("The dashboard has no such page.")
            return await self._made[path](query)
        except Exception as error:
            shown = presentable(error)
            return _json({"error": shown.message}, shown.status)

    async def _plotly(self, query: Query) -> Page:
        body = await asyncio.to_thread(_plotly)
        return Page(200, "text/javascript; charset=utf-8", body, _LASTING)

    async def _overview(self, query: Query) -> Page:
        span = query.get("since", "7d")
        if span not in SPANS:
            raise BadRequest(f"since is one of {', '.join(SPANS)}.", param="since")
        seconds = SPANS[span]
        since = None if seconds is None else time.time() - seconds
        kept = await self._ask(
            lambda store: (store.activity(since), store.budgets(self._providers))
        )
        return _json(documents.overview(span, kept, self._state()))

    async def _sessions(self, query: Query) -> Page:
        return _json(documents.sessions(await self._ask(lambda store: store.sessions()) or ()))

    async def _conversation(self, query: Query) -> Page:
        """With `newest`, the id of the newest turn that is known, nothing where that still is it:
        reading the transcripts again would tell nothing new."""
        key = _key(query)
        kept = await self._ask(lambda store: Kept(key, store.turns(key), store.places(key)))
        if kept is None or not kept.turns:
            raise NotFound("No turn of this conversation is known.")
        if query.get("newest") == str(kept.turns[-1].id):
            return Page(204, "application/json", b"")
        return _json(await conversation(kept, self._said(key.provider)))

    async def _metrics(self, query: Query) -> Page:
        body = await exposition(self._reports, self._state(), self._errors, self._providers)
        return Page(200, CONTENT_TYPE_LATEST, body)

    async def _ask[T](self, question: Callable[[SessionStore], T]) -> T | None:
        return await self._reports.ask(question) if self._reports else None


@cache
def _plotly() -> bytes:
    """The script that ships with the package. Read once, and only where somebody looks."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def _key(query: Query) -> SessionKey:
    try:
        scope = scope_of(query.get("client", ""), query["platform"])
        return SessionKey(scope, query["id"], query["provider"])
    except KeyError as error:
        name = str(error.args[0])
        raise BadRequest(
            f"{name} is missing: name platform, id and provider.", param=name
        ) from None


def _json(document: Any, status: int = 200) -> Page:
    return Page(status, "application/json", json.dumps(document).encode())
