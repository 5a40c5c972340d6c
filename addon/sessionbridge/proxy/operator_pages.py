"""Where the operator's pages are found: at a host of their own through the proxy, under a reserved
path in reverse mode.

They show what was said, so they are for this machine only, all but the node's health and what a
client has used, which its token asks for. A web page
that has brought a name of its own to resolve to this machine is told apart by that name, the Host
of all its requests, and by the Origin header that browsers send with every POST (Fetch standard,
3.2): what holds data of conversations is asked by POST.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from mitmproxy import ctx, http
from mitmproxy.proxy import mode_specs

from sessionbridge.dashboard.metrics import Errors
from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.errors import BridgeError, presentable
from sessionbridge.proxy.admin import Admin
from sessionbridge.proxy.client_host import ClientHost
from sessionbridge.proxy.client_usage import PATH as USAGE
from sessionbridge.proxy.client_usage import ClientUsage
from sessionbridge.proxy.direct_responses import answer
from sessionbridge.proxy.flow_list import FlowList
from sessionbridge.proxy.guard import is_remote
from sessionbridge.proxy.health import PATH as HEALTH
from sessionbridge.proxy.health import Health
from sessionbridge.proxy.options import LED_HERE, Options
from sessionbridge.proxy.own_names import is_reached_as, own_names
from sessionbridge.proxy.routing import foreign_page
from sessionbridge.proxy.run_totals import RunTotals
from sessionbridge.turns.runtime import Runtime

HOST = "sessionbridge.local"
PREFIX = "/.sessionbridge"

_PREFIX_BYTES = PREFIX.encode()
_API = "/api/"
_RUN = "/api/run"
"""What a program of `sessionbridge exec` has used, by the id of its run; without an id,
what all have since the proxy began."""

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def asked(flow: http.HTTPFlow) -> str | None:
    """The path of the page that the flow asks for; None for all other traffic, which is nearly all
    there is, and so is looked at as little as can be."""
    data = flow.request.data
    if _host(flow).lower() == HOST:
        return flow.request.path.partition("?")[0]
    if not data.path.startswith(_PREFIX_BYTES):
        return None
    if not isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
        return None
    path = flow.request.path.partition("?")[0].removeprefix(PREFIX)
    return path if not path or path.startswith("/") else None


def _host(flow: http.HTTPFlow) -> str:
    """The one that the request goes to; where the system leads clients to the proxy, that is an
    address, and only the client tells the name."""
    request = flow.request
    led_here = isinstance(flow.client_conn.proxy_mode, LED_HERE)
    return request.pretty_host if led_here else request.data.host


class OperatorPages:
    def __init__(
        self,
        options: Options,
        runtime: Runtime,
        admin: Admin,
        errors: Errors,
        totals: RunTotals,
        flow_list: FlowList,
        client_host: ClientHost,
        health: Health,
        usage: ClientUsage,
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._admin = admin
        self._errors = errors
        self._totals = totals
        self._list = flow_list
        self._client_host = client_host
        self._health = health
        self._usage = usage

    async def serve(self, flow: http.HTTPFlow, path: str) -> None:
        """Answers the flow, whatever happens: there is nobody else who could."""
        try:
            await self._answer(flow, path)
        except Exception as error:
            failure = presentable(error)
            self._errors.count(type(failure).__name__)
            _text(flow, failure.status, failure.message)
        self._list.page(flow, ctx.master.addons.get("view"))

    async def _answer(self, flow: http.HTTPFlow, path: str) -> None:
        if path == HEALTH:
            await self._health.serve(flow)
        elif path == USAGE:
            await self._usage.serve(flow)
        elif refusal := _refusal(flow, self._client_host.named(flow)):
            _text(flow, 403, refusal)
        elif flow.request.method != ("POST" if path.startswith(_API) else "GET"):
            _text(flow, 405, f"{flow.request.method} is not for this page.")
        elif not path:
            # So that what the page names beside itself is found below the prefix.
            answer(flow, 308, b"", {"location": f"{PREFIX}/"})
        elif self._options.settings is None:
            raise BridgeError("sessionbridge is not configured: see the proxy's log.")
        elif path == _RUN:
            document = self._totals.document(flow.request.query.get("id"))
            answer(flow, 200, json.dumps(document).encode(), _HEADERS)
        else:
            page = await self._dashboard().answer(path, dict(flow.request.query))
            kind = {"content-type": page.content_type}
            answer(flow, page.status, page.body, {**_HEADERS, **kind, **page.headers})

    def _dashboard(self) -> Dashboard:
        reports, admin = self._runtime.reports, self._admin
        providers = self._options.usable().providers
        return Dashboard(reports, admin.state, admin.said, self._errors, providers)


def _refusal(flow: http.HTTPFlow, host: str | None) -> str | None:
    if flow.client_conn.peername is None or is_remote(flow.client_conn):
        return "This page is for programs on the proxy's own machine."
    headers = flow.request.headers
    if any(name in headers for name in _FORWARDED):
        return "This page is not for requests that a server has passed on: it cannot tell whose."
    if not _is_asked_rightly(flow, host):
        return (
            f"This page is at 127.0.0.1 in reverse mode, and else at http://{HOST}/ by the proxy."
        )
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if foreign_page(origin, site, own_names(flow)) and not _is_own(flow, origin):
        return "This page is not for pages of other hosts."
    return None


def _is_asked_rightly(flow: http.HTTPFlow, host: str | None) -> bool:
    """By a name of this machine's in reverse mode, and else through the proxy: who asks the proxy's
    own port for its host has had that name resolve to this machine."""
    match flow.client_conn.proxy_mode:
        case mode_specs.ReverseMode():
            return not host or is_reached_as(host, flow)
        case mode if isinstance(mode, LED_HERE):
            return True  # they ask some server's port
    return flow.request.port != flow.client_conn.sockname[1]


def _is_own(flow: http.HTTPFlow, origin: str | None) -> bool:
    """Through the proxy that host is the page's; elsewhere the name is anybody's."""
    try:
        named = urlsplit(origin or "").hostname
    except ValueError:
        return False
    return named == HOST and _host(flow).lower() == HOST


def _text(flow: http.HTTPFlow, status: int, words: str) -> None:
    answer(flow, status, f"{words}\n".encode(), {"content-type": "text/plain; charset=utf-8"})
