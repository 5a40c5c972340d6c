"""What mitmproxy is given: one addon, put together of small ones, in their order.

A flow that is ours is sent to the loopback server and given its own address back as soon as the
answer begins; every other flow is left byte for byte alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from mitmproxy import ctx, http

from sessionbridge.dashboard.metrics import Errors
from sessionbridge.proxy.admin import Admin
from sessionbridge.proxy.client_host import ClientHost
from sessionbridge.proxy.client_usage import ClientUsage
from sessionbridge.proxy.clients import Clients
from sessionbridge.proxy.connections import Connections
from sessionbridge.proxy.console_commands import Commands
from sessionbridge.proxy.content_view import ContentView
from sessionbridge.proxy.decision import Decision
from sessionbridge.proxy.event_streams import EventStreams
from sessionbridge.proxy.flow_list import FlowList
from sessionbridge.proxy.from_nodes import FromNodes
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.health import Health
from sessionbridge.proxy.joined_hooks import join
from sessionbridge.proxy.library_logs import leave_words_out
from sessionbridge.proxy.lifecycle import Lifecycle
from sessionbridge.proxy.local_server import LocalServer
from sessionbridge.proxy.loops import Loops
from sessionbridge.proxy.memory import Memory
from sessionbridge.proxy.operator_pages import OperatorPages
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.passthrough import Passthrough
from sessionbridge.proxy.path_prefix import PathPrefix
from sessionbridge.proxy.proxy_user import ProxyUser
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.proxy.run_totals import RunTotals
from sessionbridge.proxy.start_warnings import StartWarnings
from sessionbridge.proxy.stored_objects import StoredObjects
from sessionbridge.proxy.websockets import WebSockets
from sessionbridge.proxy.whole_bodies import WholeBodies
from sessionbridge.telemetry.telemetry import Telemetry
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.loopback import Loopback
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.shutdown import Shutdown


class SessionBridge:
    """Its hooks are those of its parts. It outlives a reload of the entry file, and so do they, the
    loopback server among them.

    No part hears an event behind one that raises. So the options come first: while they are wrong
    nobody is configured by them.
    """

    def __init__(self) -> None:
        leave_words_out()
        self.runtime = Runtime()
        self.loopback = Loopback()
        # The proxy is there only later.
        self.shutdown = Shutdown(self.runtime.finish, lambda: ctx.master.shutdown())
        self.errors = Errors()
        self.telemetry = Telemetry()
        self.flow_list = FlowList()
        self.memory = Memory()
        self.options = Options()
        self.client_host = ClientHost()
        self.clients = Clients(self.runtime)
        self.path_prefix = PathPrefix(self.options)
        self.connections = Connections(self.options)
        self.rerouting = Rerouting(
            self.options, self.loopback, self.shutdown, self._ended, self._closed
        )
        self.totals = RunTotals(self.rerouting.exchanges)
        self.admin = Admin(self.runtime, self.rerouting.exchanges)
        self.commands = Commands(self.admin)
        loops, whole_bodies = Loops(), WholeBodies()
        guard = Guard(self.options, self.shutdown, self.client_host, self.clients)
        sockets = WebSockets(self.options, self.runtime, self.rerouting, guard, self.clients)
        self.pages = OperatorPages(
            self.options,
            self.runtime,
            self.admin,
            self.errors,
            self.totals,
            self.flow_list,
            self.client_host,
            Health(self.options, self.runtime, guard, self.shutdown),
            ClientUsage(self.options, self.runtime, guard, self.clients),
        )
        local = LocalServer(self.options, self.runtime, guard, self.clients)
        self.decision = Decision(
            self.options,
            self.runtime,
            self.rerouting,
            self.pages,
            local,
            StoredObjects(self.options, self.runtime, self.rerouting, guard, local, self.clients),
            guard,
            loops,
            whole_bodies,
            self.path_prefix,
            sockets,
            FromNodes(self.runtime, self.shutdown, self.rerouting, self.flow_list),
            self.clients,
            self.errors,
        )
        self.addons = [self.commands]  # mitmproxy looks for commands on addons alone
        parts = [
            self.options,
            StartWarnings(self.options),
            self.connections,
            loops,
            Lifecycle(self.options, self.runtime, self.loopback, self.shutdown, self.telemetry),
            self.client_host,
            whole_bodies,
            self.clients,  # nobody behind it sees a token
            self.path_prefix,
            ProxyUser(),
            self.decision,
            sockets,
            Passthrough(self.options, self.runtime, self.rerouting),
            self.rerouting,  # it forgets a flow that has ended, so it comes after who asks for it
            self.memory,
            EventStreams(),
            ContentView(),
        ]
        join(self, parts)

    def _ended(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """What is kept of a turn."""
        self.totals.ended(exchange)
        failure = exchange.outcome.failure
        self.memory.ended(flow, failure)
        if failure:
            self.errors.count(type(failure).__name__)
        self.telemetry.ended(exchange)

    def _closed(self, flow: http.HTTPFlow) -> None:
        self.flow_list.bridged(flow, ctx.master.addons.get("view"), self.options.keep_flows)


addons: Sequence[object] = [SessionBridge()]
