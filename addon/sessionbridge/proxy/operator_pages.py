"""Where the operator's pages are found: at a host of their own through the proxy, under a reserved
path in reverse mode.

They show what was said, so they are for this machine only. A web page that has brought a name of
its own to resolve to this machine is told apart by the Origin header that browsers send with every
POST (Fetch standard, 3.2): that is why all that holds data of conversations is asked by POST.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mitmproxy import http
from mitmproxy.proxy import mode_specs

from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.errors import BridgeError, presentable
from sessionbridge.proxy.direct_responses import answer
from sessionbridge.proxy.routing import foreign_page, is_loopback

HOST = "sessionbridge.local"
PREFIX = "/.sessionbridge"

_PREFIX_BYTES = PREFIX.encode()
_API = "/api/"
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def asked(flow: http.HTTPFlow) -> str | None:
    """The path of the page that the flow asks for; None for all other traffic, which is nearly all
    there is, and so is looked at as little as can be."""
    data = flow.request.data
    if data.host.lower() == HOST:
        return flow.request.path.partition("?")[0]
    if not data.path.startswith(_PREFIX_BYTES):
        return None
    if not isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
        return None
    path = flow.request.path.partition("?")[0].removeprefix(PREFIX)
    return path if not path or path.startswith("/") else None


async def serve(flow: http.HTTPFlow, path: str, dashboard: Dashboard | None) -> None:
    """Answers the flow, whatever happens: there is nobody else who could. There is no dashboard
    while the options of the addon are wrong."""
    try:
        if refusal := _refusal(flow, path):
            _text(flow, 403, refusal)
        elif flow.request.method != ("POST" if path.startswith(_API) else "GET"):
            _text(flow, 405, f"{flow.request.method} is not for this page.")
        elif not path:
            # So that what the page names beside itself is found below the prefix.
            answer(flow, 308, b"", {"location": f"{PREFIX}/"})
        elif dashboard is None:
            raise BridgeError("sessionbridge is not configured: see the proxy's log.")
        else:
            page = await dashboard.answer(path, dict(flow.request.query))
            kind = {"content-type": page.content_type}
            answer(flow, page.status, page.body, {**_HEADERS, **kind, **page.headers})
    except Exception as error:
        failure = presentable(error)
        _text(flow, failure.status, failure.message)


def _refusal(flow: http.HTTPFlow, path: str) -> str | None:
    peer = flow.client_conn.peername
    if peer is None or not is_loopback(peer[0]):
        return "This page is for programs on the proxy's own machine."
    headers = flow.request.headers
    if any(name in headers for name in _FORWARDED):
        return "This page is not for requests that a server has passed on: it cannot tell whose."
    origin = headers.get("origin")
    if foreign_page(origin, headers.get("sec-fetch-site")) and not _is_own(flow, origin):
        return "This page is not for pages of other hosts."
    return None


def _is_own(flow: http.HTTPFlow, origin: str | None) -> bool:
    """Through the proxy that host is the page's; elsewhere the name is anybody's."""
    try:
        named = urlsplit(origin or "").hostname
    except ValueError:
        return False
    return named == HOST and flow.request.data.host.lower() == HOST


def _text(flow: http.HTTPFlow, status: int, words: str) -> None:
    answer(flow, status, f"{words}\n".encode(), {"content-type": "text/plain; charset=utf-8"})
