"""What nodes tell each other about the sessions they hold, as the database passes it on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support.nodes import Node

_CHANNEL = "sessionbridge_holders"


class Announcements:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def tell(self, **said: Any) -> None:
        """As a node would."""
        self._connection.execute("SELECT pg_notify(%s, %s)", [_CHANNEL, json.dumps(said)])

    def until_known(self, session: str, holder: Node, nodes: Sequence[Node]) -> None:
        """Until the holder has told that it holds this session, and all have heard it."""
        self._wait(
            lambda said: said["node"] == holder.url and session in said.get("held", ()),
            f"{holder.url} to hold {session}",
        )
        self.settle(nodes)

    def settle(self, nodes: Sequence[Node]) -> None:
        """All have heard what was told before: each answers a question in the order it hears."""
        self.tell(node="http://nobody", asks=True)
        missing = {node.url for node in nodes}

        def was_last(said: Any) -> bool:
            if said.get("anew"):
                missing.discard(said["node"])
            return not missing

        self._wait(was_last, "all nodes to answer")

    def _wait(self, is_it: Callable[[Any], bool], what: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for notify in self._connection.notifies(timeout=1, stop_after=1):
                if is_it(json.loads(notify.payload)):
                    return
        raise AssertionError(f"waited in vain for {what}")


@contextmanager
def listening(url: str) -> Iterator[Announcements]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"LISTEN {_CHANNEL}")
        yield Announcements(connection)
