"""What becomes of a request: it passes on as it is, it is answered here, or it is bridged.

Nothing that goes wrong here may send one of our requests on to the real API: mitmproxy itself
would, so whatever is raised is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mitmproxy import ctx, http

from sessionbridge import descriptors
from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.dashboard.metrics import Errors
from sessionbridge.errors import Refused
from sessionbridge.proxy import cors, local_api, operator_pages, own_headers, proxy_user
from sessionbridge.proxy.clients import Clients
from sessionbridge.proxy.direct_responses import answer, refuse, share
from sessionbridge.proxy.flow_notes import note_own
from sessionbridge.proxy.from_nodes import FromNodes
from sessionbridge.proxy.guard import Guard, page_refused
from sessionbridge.proxy.http_message import check_head, decoded, lowered
from sessionbridge.proxy.local_server import LocalServer
from sessionbridge.proxy.loops import Loops
from sessionbridge.proxy.operator_pages import OperatorPages
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.own_names import own_names
from sessionbridge.proxy.ownership import check_unread, is_ours
from sessionbridge.proxy.path_prefix import PathPrefix
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.proxy.stored_objects import StoredObjects
from sessionbridge.proxy.websockets import WebSockets
from sessionbridge.proxy.whole_bodies import WholeBodies
from sessionbridge.turns.content_coding import MOST
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.naming import named
from sessionbridge.turns.passing_on import HEADER
from sessionbridge.turns.request_meta import attempt, trace, wanted
from sessionbridge.turns.runtime import Runtime

_CHILD_OF_ANOTHER = (
    "A Claude CLI that was started by sessionbridge with another home calls the API through this "
    "proxy, and is not bridged again; do not pass this proxy's address on to it."
)


class Decision:
    def __init__(
        self,
        options: Options,
        runtime: Runtime,
        rerouting: Rerouting,
        pages: OperatorPages,
        local: LocalServer,
        stored: StoredObjects,
        guard: Guard,
        loops: Loops,
        whole_bodies: WholeBodies,
        path_prefix: PathPrefix,
        sockets: WebSockets,
        from_nodes: FromNodes,
        clients: Clients,
        errors: Errors,
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._rerouting = rerouting
        self._pages = pages
        self._local = local
        self._stored = stored
        self._guard = guard
        self._loops = loops
        self._whole_bodies = whole_bodies
        self._path_prefix = path_prefix
        self._sockets = sockets
        self._from_nodes = from_nodes
        self._clients = clients
        self._errors = errors

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Nothing of what may be answered here leaves before its body has been read."""
        if not ctx.options.stream_large_bodies:
            return
        if self._may_be_ours(flow):
            self._whole_bodies.hold(flow)
        else:
            own_headers.take_out(flow.request.headers)  # it may leave at once

    async def request(self, flow: http.HTTPFlow) -> None:
        """What is none of these passes on."""
        if flow.response or flow.error or not flow.live:
            return
        turn = socket = None
        try:
            self._loops.check(flow.client_conn)
            if await self._from_nodes.serve(flow):
                return
            self._clients.check_places(flow)
            if (page := operator_pages.asked(flow)) is not None:
                return await self._pages.serve(flow, page)
            self._guard.check_host(flow)
            routes, sni = self._options.routes, flow.client_conn.sni
            turn = routes.api_of_turn(flow.request, sni)
            socket = None if turn else routes.api_of_socket(flow.request, sni)
            self._path_prefix.check(flow)
            await self._identify(flow)
            await self._answer(flow, turn, socket)
            if flow.response is None and flow not in self._rerouting:
                self._clients.check_passing(flow)
                if turn or socket:
                    own_headers.check_passing_turn(flow.request)
                own_headers.take_out(flow.request.headers)
        except Exception as error:
            headers = lowered(flow.request.headers)
            spoken = turn or socket or local_api.spoken(flow.request.path, headers)
            self._refuse(flow, spoken, error)

    def _may_be_ours(self, flow: http.HTTPFlow) -> bool:
        routes, sni = self._options.routes, flow.client_conn.sni
        try:
            self._guard.check_host(flow)
            return (
                HEADER in flow.request.headers
                or self._clients.may_not_pass(flow)
                or operator_pages.asked(flow) is not None
                or routes.api_of_turn(flow.request, sni) is not None
                or routes.api_of_socket(flow.request, sni) is not None
                or self._stored.asked(flow, self._headers) is not None
                or self._local.is_meant(flow)
            )
        except Exception:
            return True  # and is refused

    async def _answer(self, flow: http.HTTPFlow, turn: str | None, socket: str | None) -> None:
        """`turn` and `socket` are the API shapes in which it asks for one."""
        if turn:
            await self._turn(flow, turn)
        elif socket:
            await self._socket(flow, socket)
        elif (path := self._stored.asked(flow, self._headers)) is not None:
            await self._stored.serve(flow, path, self._headers(flow))
        elif self._is_preflight(flow):
            self._answer_preflight(flow)
        elif self._local.is_meant(flow):
            await self._local.serve(flow, lowered(flow.request.headers))

    async def _identify(self, flow: http.HTTPFlow) -> None:
        """Who asks something that may be answered here. What else passes, nobody is asked about."""
        if not self._clients.has_token(flow):
            return
        routes, sni = self._options.routes, flow.client_conn.sni
        if routes.is_asked(flow.request, sni) or self._local.is_meant(flow):
            self._guard.check_machine(flow, self._options.usable())
            await self._clients.identify(flow)

    async def _turn(self, flow: http.HTTPFlow, api: str) -> None:
        """A request for a turn that the bridge may take: the CLI's own and Claude Code's are left
        alone, and so is one that names no conversation, unless an option says otherwise."""
        headers = self._headers(flow)
        if await self._runtime.is_our_child(headers):
            return self._pass_our_child(flow)
        body = await _body(flow.request)
        found = await named(self._options.origins, headers, body or b"", self._runtime.worker)
        if not is_ours(found, headers, self._options):
            return check_unread(body, found, self._options.origins)
        if CHILD_HEADER in headers:
            raise Refused(_CHILD_OF_ANOTHER)  # or two bridges could send it back and forth for ever
        self._guard.check(flow, self._options.usable())
        check_head(flow.request)
        descriptors.check(descriptors.OF_A_TURN)  # or mitmproxy would answer, with a page
        asking = self._clients.asking(flow)
        sent, origin = attempt(headers, asking.name), asking.owning(found.origin)
        if flow.is_replay == "request":
            sent = replace(sent, again=True)  # what somebody replays is a retry of itself
        model, run = self._options.routes.model_at(flow.request), proxy_user.run(flow)
        summary = (
            self._options.routes.api_of_summary(flow.request, flow.client_conn.sni) is not None
        )
        exchange = Exchange(
            api,
            origin,
            sent,
            model=model,
            run=run,
            summary=summary,
            path=None if summary else flow.request.path,
            rules=asking.rules,
            wanted=wanted(headers, found, model),
            trace=trace(headers),
        )
        self._rerouting.begin(flow, exchange)

    async def _socket(self, flow: http.HTTPFlow, api: str) -> None:
        """The upgrade to a WebSocket on which turns may be asked for."""
        headers = self._headers(flow)
        if await self._runtime.is_our_child(headers):
            return self._pass_our_child(flow)
        if CHILD_HEADER in headers:
            raise Refused(_CHILD_OF_ANOTHER)
        await self._sockets.serve(flow, api, headers)

    def _headers(self, flow: http.HTTPFlow) -> dict[str, str]:
        """By name in lower case, with what names a conversation outside of them."""
        return proxy_user.with_user(self._path_prefix.headers(flow), flow)

    def _pass_our_child(self, flow: http.HTTPFlow) -> None:
        if not self._options.upstream:
            raise Refused(local_api.NO_API_FOR_THE_CLI)
        note_own(flow)

    def _is_preflight(self, flow: http.HTTPFlow) -> bool:
        """Whether a browser asks what a page may send to where something is answered here."""
        request, routes, sni = flow.request, self._options.routes, flow.client_conn.sni
        return cors.is_preflight(request.method, request.headers) and (
            self._local.is_meant(flow)
            or routes.api_at(request, sni) is not None
            or routes.api_of_summary(request, sni) is not None
            or self._stored.may_be_at(flow)
        )

    def _answer_preflight(self, flow: http.HTTPFlow) -> None:
        """A page that may not use the bridge may still have leave to use the API itself."""
        headers = flow.request.headers
        if not cors.refuses(headers, self._options.allow_origins, own_names(flow)):
            answer(flow, 204, b"", cors.preflight_headers(headers))
        elif not self._options.upstream:
            raise page_refused()

    def _refuse(self, flow: http.HTTPFlow, api: str, error: Exception) -> None:
        self._errors.count(type(refuse(flow, api, error)).__name__)
        share(flow, self._options.allow_origins)


async def _body(request: http.Request) -> bytes | None:
    """To be read only: the request may yet have to go on as it is. None where it cannot be had."""
    raw = request.raw_content or b""
    if "content-encoding" in request.headers or len(raw) > MOST:
        return await asyncio.to_thread(decoded, request)  # a small one may take a second
    return raw
