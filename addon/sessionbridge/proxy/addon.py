"""The hooks and options: what mitmproxy sees of the bridge.

A flow that is ours is sent to the loopback server and given its own address back as soon as the
answer begins; every other flow is left byte for byte alone. Nothing that goes wrong here may send
one of our requests on to the real API: mitmproxy itself would, so each routing hook catches all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mitmproxy import contentviews, ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import mode_specs

from sessionbridge import config
from sessionbridge.addresses import plain_host
from sessionbridge.dashboard.metrics import Errors
from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.errors import BridgeError, Refused, ShuttingDown, presentable
from sessionbridge.model import Attempt, Origin
from sessionbridge.proxy import cors, local_api, operator_pages, options
from sessionbridge.proxy.admin import Admin
from sessionbridge.proxy.console_commands import Commands
from sessionbridge.proxy.content_view import SessionBridgeView
from sessionbridge.proxy.direct_responses import answer, refuse
from sessionbridge.proxy.flow_list import FlowList
from sessionbridge.proxy.flow_notes import annotate, keep_stream, note_own
from sessionbridge.proxy.http_message import is_event_stream, json_body, lowered
from sessionbridge.proxy.late_tls import LateTls
from sessionbridge.proxy.passthrough import Passthrough
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.proxy.routing import Routes, is_loopback
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.loopback import Loopback
from sessionbridge.turns.request_meta import attempt
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.shutdown import Shutdown

logger = logging.getLogger(__name__)

_TCP_TIMEOUT_MARGIN = 60
"""Seconds mitmproxy waits longer for a silent client than a turn may last."""


_OWN_HEADER = "x-sessionbridge-session"

_FOREIGN_PAGE = (
    "Requests made by web pages of other hosts are not bridged; sessionbridge_allow_origins lists "
    "those that may."
)


class SessionBridge:
    """The addon. It outlives a reload of the entry file, and so does its loopback server."""

    def __init__(self) -> None:
        self._runtime = Runtime()
        self._loopback: Loopback | None = None
        self._rerouting: Rerouting | None = None
        self._settings: config.Settings | None = None
        self._problem = "the addon has not been configured"
        self._unreadable: str | None = None
        self._routes = Routes(())
        self._origins = Origins.default()
        self._late_tls = LateTls(self.served_here)
        self._upstream = True
        self._admin = Admin(
            self._runtime, lambda: self._rerouting.exchanges if self._rerouting else ()
        )
        self._dashboard: Dashboard | None = None
        self._errors = Errors()
        self._passthrough = Passthrough(self._runtime)
        self._list = FlowList()
        self.addons = [Commands(self._admin)]
        self._shutdown: Shutdown | None = None

    def _exchanges(self) -> Sequence[Exchange]:
        return self._rerouting.exchanges if self._rerouting else ()

    # --- life ---------------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        self._unreadable = options.add(loader)
        # The proxy accepts connections before `running` is called, so this listens now.
        if self._loopback is None:
            self._loopback = Loopback()
            self._rerouting = Rerouting(self._loopback)
        contentviews.add(SessionBridgeView)

    def configure(self, updated: set[str]) -> None:
        if not any(name.startswith("sessionbridge_") or name == "mode" for name in updated):
            return
        try:
            self._configure()
        except ValueError as error:
            # A script whose options are wrong stays loaded: from now on it refuses to bridge.
            self._settings, self._problem = None, str(error)
            raise exceptions.OptionsError(str(error)) from error

    def _configure(self) -> None:
        # Known first, as the routes are: where there is no API, errors must not reach one either.
        self._upstream = ctx.options.sessionbridge_upstream
        modes = [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]
        reverse = [mode.address[0] for mode in modes if isinstance(mode, mode_specs.ReverseMode)]
        # Known first: also while the options are wrong, these hosts' requests are for us to refuse.
        self._routes = Routes((), reverse)
        if self._unreadable:
            raise ValueError(self._unreadable)
        settings = config.load(options.values())
        self._routes = Routes(settings.endpoints, reverse)
        self._origins = Origins.default(settings.origins)
        if not all(isinstance(mode, mode_specs.RegularMode) for mode in modes):
            # All modes but the regular one connect to the server before any hook could say no.
            ctx.options.update(connection_strategy="lazy")
        patience = settings.timeout + _TCP_TIMEOUT_MARGIN
        if ctx.options.tcp_timeout < patience:
            ctx.options.update(tcp_timeout=patience)
        assert self._loopback is not None
        self._loopback.walk = self._runtime.bridge(settings)
        reports, admin = self._runtime.reports, self._admin
        self._dashboard = Dashboard(reports, admin.state, admin.said, self._errors)
        self._settings = settings

    def running(self) -> None:
        ctx.master.addons.add(self._late_tls)
        if self._shutdown is None:
            self._shutdown = Shutdown(self._runtime.finish, ctx.master.shutdown)
            self._shutdown.listen()
        if not ctx.options.listen_host:
            logger.warning(
                "The proxy listens on all interfaces; --listen-host 127.0.0.1 keeps it to this "
                "machine."
            )

    def done(self) -> None:
        if self._late_tls.registered:
            ctx.master.addons.remove(self._late_tls)
        self._runtime.close()

    # --- connections --------------------------------------------------------------------------

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Accepts the tunnel without a connection to the server, which may be out of reach."""
        if flow.response is None and self.served_here(flow.request.host):
            flow.response = http.Response.make(200)
            flow.response.headers.clear()

    def served_here(self, host: str) -> bool:
        """Whether what is asked of a host may be answered without it."""
        return self._routes.bridged_host(host) or host == operator_pages.HOST

    # --- requests -----------------------------------------------------------------------------

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Only for bodies that mitmproxy may stream on before `request` is called, large ones and
        those of unknown length: what can be known of them is in their headers."""
        if not ctx.options.stream_large_bodies:
            return
        if flow.request.stream or "content-length" not in flow.request.headers:
            await self._decide(flow, body_is_here=False)

    async def request(self, flow: http.HTTPFlow) -> None:
        if self._rerouting is None or flow not in self._rerouting:
            await self._decide(flow, body_is_here=True)

    async def _decide(self, flow: http.HTTPFlow, *, body_is_here: bool) -> None:
        if flow.response or flow.error or not flow.live:
            return
        if (path := operator_pages.asked(flow)) is not None:
            await self._serve_page(flow, path, body_is_here=body_is_here)
            return
        api = None
        try:
            api = self._api(flow.request)
            if api is not None:
                await self._route(flow, api, body_is_here=body_is_here)
            elif self._asks_first(flow):
                self._answer_first(flow)
            elif self._answered_here(flow):
                headers = lowered(flow.request.headers)
                api = local_api.spoken(flow.request.path, headers)
                await self._answer_here(flow, headers)
        except Exception as error:
            if body_is_here:
                self._refuse(flow, api or "messages", error)
            else:
                self._refuse_at_loopback(flow, api or "messages", error)

    async def _route(self, flow: http.HTTPFlow, api: str, *, body_is_here: bool) -> None:
        headers = lowered(flow.request.headers)
        if await self._runtime.is_our_child(headers):
            if self._upstream:
                note_own(flow)
                return
            raise Refused(local_api.NO_API_FOR_THE_CLI)
        body = await json_body(flow.request, headers) if body_is_here else None
        origin = self._origins.detect(headers, body)
        settings = self._usable_settings()
        if self._is_claude_code(headers, origin, settings):
            return
        ours = origin is not None or settings.unkeyed != "passthrough"
        if ours or await self._runtime.goes_on(body):
            self._guard(flow, settings)
            self._send_to_gateway(flow, Exchange(api, origin, _attempt(flow, headers)))

    async def _serve_page(self, flow: http.HTTPFlow, path: str, *, body_is_here: bool) -> None:
        if not body_is_here and "transfer-encoding" in flow.request.headers:
            # No page is asked so, and mitmproxy takes no response before it knows how much comes.
            flow.kill()
            return
        await operator_pages.serve(flow, path, self._dashboard)
        self._list.page(flow, ctx.master.addons.get("view"))

    def _asks_first(self, flow: http.HTTPFlow) -> bool:
        """Whether a browser asks what a page may send to where turns are answered."""
        request = flow.request
        if request.method != "OPTIONS" or not cors.is_preflight(request.headers):
            return False
        return self._answered_here(flow) or self._api_at(request) is not None

    def _answer_first(self, flow: http.HTTPFlow) -> None:
        """A page that may not use the bridge may still have leave to use the API itself."""
        headers = flow.request.headers
        if not cors.refuses(headers, self._allowed_origins):
            answer(flow, 204, b"", cors.preflight_headers(headers))
        elif not self._upstream:
            raise Refused(_FOREIGN_PAGE)

    def _share(self, flow: http.HTTPFlow) -> None:
        """Lets a page that may use the bridge read the answer."""
        headers = flow.request.headers
        if flow.response and not cors.refuses(headers, self._allowed_origins):
            flow.response.headers.update(cors.answer_headers(headers))

    @property
    def _allowed_origins(self) -> Sequence[str]:
        return self._settings.allow_origins if self._settings else ()

    def _is_claude_code(
        self, headers: Mapping[str, str], origin: Origin | None, settings: config.Settings
    ) -> bool:
        """Claude Code remembers by itself. Who gives it our own header wants it bridged."""
        if settings.claude_code or not self._upstream or _OWN_HEADER in headers:
            return False
        named = origin is not None and origin.platform == "claude-code"
        return named or headers.get("user-agent", "").startswith("claude-cli/")

    def _refuse(self, flow: http.HTTPFlow, api: str, error: Exception) -> None:
        self._errors.count(type(refuse(flow, api, error)).__name__)
        self._share(flow)

    def _refuse_at_loopback(self, flow: http.HTTPFlow, api: str, error: Exception) -> None:
        """A response cannot be given to a request whose body mitmproxy may stream on."""
        try:
            self._send_to_gateway(flow, Exchange(api, None, refused=presentable(error)))
        except Exception as broken:
            self._refuse(flow, api, broken)

    def _api(self, request: http.Request) -> str | None:
        """By the host the request would go to, or by the one the client names: in transparent mode
        the former is a bare address, and in reverse mode with `keep_host_header` it alone is the
        target's. The path is asked first, and last `pretty_host`, which searches and parses the
        Host header.
        """
        return self._api_at(request) if request.method == "POST" else None

    def _api_at(self, request: http.Request) -> str | None:
        apis = self._routes.apis(request.path)
        if not apis:
            return None
        return apis.get(plain_host(request.host)) or apis.get(plain_host(request.pretty_host))

    def _answered_here(self, flow: http.HTTPFlow) -> bool:
        """What no API is there for. In reverse mode everything is meant for the target, whatever
        host the client names; elsewhere the target's name is that of some other server."""
        if self._upstream:
            return False
        if isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode):
            return True
        hosts = (flow.request.host, flow.request.pretty_host)
        return any(map(self._routes.bridged_by_name, hosts))

    async def _answer_here(self, flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
        settings = self._usable_settings()
        self._guard(flow, settings)
        inquiry = local_api.inquiry(flow.request.method, flow.request.path, headers)
        assert self._runtime.dispatcher is not None
        # The first time a process has to be started for it, which takes most of a second.
        body = local_api.answer(inquiry, await self._runtime.dispatcher.models(), settings.models)
        answer(flow, 200, body)
        if flow.request.method == "HEAD" and flow.response:
            flow.response.raw_content = b""  # its length stays told
        self._share(flow)
        flow.comment = "answered here · models"

    def _usable_settings(self) -> config.Settings:
        if self._settings is None:
            raise BridgeError(f"sessionbridge is not configured: {self._problem}")
        return self._settings

    def _guard(self, flow: http.HTTPFlow, settings: config.Settings) -> None:
        if self._shutdown is not None and self._shutdown.begun:
            raise ShuttingDown("The proxy is shutting down; try again.")
        peer = flow.client_conn.peername
        if peer is not None and not settings.allow_remote and not is_loopback(peer[0]):
            raise Refused(
                f"Requests from {peer[0]} are not bridged; set sessionbridge_allow_remote to let "
                "other machines use this machine's Claude."
            )
        if cors.refuses(flow.request.headers, settings.allow_origins):
            raise Refused(_FOREIGN_PAGE)

    def _send_to_gateway(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        assert self._rerouting is not None
        self._rerouting.begin(flow, exchange)
        self._tell_shutdown()

    # --- responses ----------------------------------------------------------------------------

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert self._rerouting is not None
        if self._rerouting.restore(flow):
            self._share(flow)
        response = flow.response
        if response is None or response.stream:
            return
        if is_event_stream(response.headers):
            # mitmproxy would hold an event stream back until it ends.
            response.stream = keep_stream(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        # mitmproxy calls this for flows from a file as well; those are not live.
        if not self._end(flow) and flow.live and self._settings and self._settings.watch:
            self._passthrough.passed(flow)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        # None of them is bridged.
        if flow.live and self._settings and self._settings.watch:
            self._passthrough.heard(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        assert self._rerouting is not None
        self._rerouting.restore(flow)
        self._end(flow)

    def _end(self, flow: http.HTTPFlow) -> bool:
        """Whether it was a bridged one."""
        assert self._rerouting is not None
        exchange = self._rerouting.end(flow)
        if exchange is None:
            return False
        annotate(flow, exchange)
        if failure := exchange.outcome.failure:
            self._errors.count(type(failure).__name__)
        keep = self._settings.keep_flows if self._settings else None
        self._list.bridged(flow, ctx.master.addons.get("view"), keep)
        self._tell_shutdown()
        return True

    def _tell_shutdown(self) -> None:
        if self._shutdown is not None and self._rerouting is not None:
            self._shutdown.turns(len(self._rerouting))


def _attempt(flow: http.HTTPFlow, headers: Mapping[str, str]) -> Attempt:
    """A flow that somebody replays is a retry of itself."""
    sent = attempt(headers)
    return replace(sent, again=True) if flow.is_replay == "request" else sent


addons: Sequence[object] = [SessionBridge()]
