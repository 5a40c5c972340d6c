"""Nodes: mitmdumps on machines of their own, as far as homes go, that share a store."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.support.clients import ServerClients
from tests.support.proxy import Proxy, running_proxy


def without_password(store: str) -> tuple[str, dict[str, str]]:
    """A command line is everybody's to read, so the password goes libpq's way, by a variable."""
    address = urlsplit(store)
    netloc = f"{address.username}@{address.hostname}:{address.port}"
    return address._replace(netloc=netloc).geturl(), {"PGPASSWORD": address.password or ""}


class Node:
    """Its port and home stay over its starts. Clients talk to it by `url`, as to the API itself;
    where it is `reachable` other nodes do, too."""

    def __init__(
        self,
        home: Path,
        api_url: str,
        store: str,
        options: Mapping[str, str],
        *,
        reachable: bool = False,
    ) -> None:
        self.home = home
        self._api_url = api_url
        self._options = {"upstream": "false", **options}
        self._env: dict[str, str] = {}
        if store:
            self._options["store"], self._env = without_password(store)
        self._running = ExitStack()
        # Bound as long as there is this node: no connection is given its port while it is down.
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bound.bind(("127.0.0.1", 0))
        self.port: int = self._bound.getsockname()[1]
        if reachable:
            self._options["node"] = self.url

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        mode = f"reverse:http://127.0.0.1:9@{self.port}"  # never connected to
        self.proxy: Proxy = self._running.enter_context(
            running_proxy(
                self.home,
                self._api_url,
                "--mode",
                mode,
                options=self._options,
                env=self._env,
            )
        )

    def stop(self) -> None:
        """With SIGTERM, as a service manager does; it waits for the turns under way."""
        self.thaw()
        self._running.close()

    def close(self) -> None:
        self.stop()
        self._bound.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9`, also while it is frozen."""
        self._signal(signal.SIGKILL)
        self.proxy.process.wait()
        self._running.close()

    def freeze(self) -> None:
        """It takes connections, as the kernel does for it, and does nothing else."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.proxy.process.poll() is None:
            os.kill(self.proxy.process.pid, number)


class InTurn(ServerClients):
    """One request after another goes to the next node."""

    def __init__(self, nodes: Sequence[Node], open_: ExitStack) -> None:
        super().__init__(nodes[0].url, open_)
        self._turns = cycle(nodes)

    def _address(self) -> httpx.URL:
        return httpx.URL(next(self._turns).url)


@contextmanager
def running_nodes(
    folder: Path,
    api_url: str,
    store: str,
    *,
    count: int = 2,
    reachable: bool = False,
    **options: str,
) -> Iterator[list[Node]]:
    """Nodes that share the PostgreSQL of the URL `store`; without one each has a database of its
    own. `options` are `sessionbridge_…` ones of all of them."""
    nodes = []
    with ExitStack() as ends:
        for number in range(count):
            home = folder / f"node-{number}"
            home.mkdir()
            node = Node(home, api_url, store, options, reachable=reachable)
            node.start()
            ends.callback(node.close)
            nodes.append(node)
        yield nodes
