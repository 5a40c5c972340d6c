"""Connections that do not wait for ever for a server that says nothing.

PostgreSQL's own timeouts are of no use where its process is frozen, and TCP's are none either: its
kernel, or a proxy before it, answers for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import DictRow

BRIEF = 5.0
"""Seconds for an answer that costs a server nothing, and those that an answer may come later than
the server has ended it for taking too long."""


class Silent(psycopg.OperationalError):
    """No answer came in time, and the connection is given up."""


class _Bounded:
    patience = BRIEF
    """Seconds for an answer to begin, and to go on."""

    pgconn: psycopg.pq.abc.PGconn
    is_cut = False
    _deadline = inf

    def wait_without_end(self) -> None:
        """For the answer that is waited for now."""
        self._deadline = inf

    def cut(self) -> None:
        """Whoever waits for an answer gets none, now and later. For any thread."""
        self.is_cut = True

    def _bounded[T](self, answer: PQGen[T]) -> PQGen[T]:
        """psycopg looks every 0.1 s whether there is anything else to do."""
        self._deadline = monotonic() + self.patience
        given_up = False
        try:
            wanted = next(answer)
            while True:
                ready = yield wanted
                if ready:
                    self._deadline = monotonic() + self.patience
                elif not given_up and (self.is_cut or monotonic() >= self._deadline):
                    given_up = True
                    self._shut()
                wanted = answer.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result
        except psycopg.Error as error:
            if given_up:
                raise Silent("there was no answer") from error
            raise

    def _shut(self) -> None:
        """libpq finds the connection at its end, and leaves nothing half done."""
        with suppress(OSError, psycopg.Error), socket(fileno=os.dup(self.pgconn.socket)) as end:
            end.shutdown(SHUT_RDWR)


class Connection(_Bounded, psycopg.Connection[DictRow]):
    def wait[T](self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._bounded(gen), *args, **kwargs)


class ListeningConnection(_Bounded, psycopg.AsyncConnection[Any]):
    async def wait[T](self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        return await super().wait(self._bounded(gen), *args, **kwargs)
