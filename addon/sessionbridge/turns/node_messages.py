"""What nodes tell each other of a turn, sealed with a key that only nodes of the database have.

What another is told is for it alone, for a short time and for once: who has read it on its way
cannot have it answered again, here or anywhere. An answer names its question, so that nobody else
can give it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import takewhile
from uuid import uuid4

from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, ValidationError

from sessionbridge.allowances import ClientRules
from sessionbridge.errors import Refused
from sessionbridge.model import Attempt, Origin
from sessionbridge.sessions.store.store_thread import StoreThread

_KEY = "node-key"
_LASTS = 30
"""Seconds by the database's clock."""

_REMEMBERED = _LASTS + 60
"""Seconds; Fernet also takes what seems to be of the next minute."""


class ForNode(BaseModel, extra="forbid"):
    """`node` is the address of the one that it is for, `once` what no other message is called.
    Fields that are not known here, of a newer release, make it unreadable."""

    node: str
    once: str


class Question(ForNode):
    """Whether a process waits there in this session."""

    session: str


class Answer(BaseModel, extra="forbid"):
    """To the question that was called so."""

    once: str
    held: bool


class Passed(ForNode):
    """A turn. `provider` has been chosen for it, `digest` is that of its body (SHA-256)."""

    api: str
    origin: Origin | None
    attempt: Attempt
    rules: ClientRules
    model: str | None
    provider: str | None
    digest: str
    trace: Mapping[str, str]


class NodeMessages:
    """`address` is that of this node; `clock` tells epoch seconds, the same for all nodes, once the
    store has been asked for anything. All raise `StoreUnavailable`."""

    def __init__(self, store: StoreThread, clock: Callable[[], float], address: str) -> None:
        self.address = address
        self._store = store
        self._clock = clock
        self._key: Fernet | None = None
        self._began = time.monotonic()
        self._taken: dict[str, int] = {}
        """What is not to be taken again, and until when it could be; in the order it came."""

    async def seal(self, told: BaseModel) -> str:
        key = await self._fernet()
        return key.encrypt_at_time(told.model_dump_json().encode(), int(self._clock())).decode()

    async def take[M: ForNode](self, sealed: str, kind: type[M]) -> M | None:
        """None where no node has sealed it. Raises `Refused` for what is not for this node, or not
        any more."""
        told = await self.read(sealed, kind)
        if told is None:
            return None
        if told.node != self.address:
            raise Refused(
                f"This was sealed for {told.node}, and this is {self.address}; ask it there."
            )
        self._take_once(told.once)
        return told

    async def read[M: BaseModel](self, sealed: str, kind: type[M]) -> M | None:
        """None where no node has sealed it. Raises `Refused` for what is too old, or of another
        kind."""
        key = await self._fernet()
        try:
            key.extract_timestamp(sealed.encode())
        except (InvalidToken, UnicodeError):
            return None
        try:
            # One that was started anew does not know what it has taken before.
            lasts = min(_LASTS, int(time.monotonic() - self._began) + 1)
            told = key.decrypt_at_time(sealed.encode(), lasts, int(self._clock()))
            return kind.model_validate_json(told)
        except InvalidToken:
            raise Refused(
                f"What another node has sealed is taken for {_LASTS} s, and not from before this "
                "one was started; ask it again."
            ) from None
        except ValidationError:
            raise Refused(
                "What another node has sealed is not known here; run the same version on both."
            ) from None

    def _take_once(self, once: str) -> None:
        now = int(self._clock())
        for old in list(takewhile(lambda name: self._taken[name] < now, self._taken)):
            del self._taken[old]
        if once in self._taken:
            raise Refused("What another node has sealed is taken once, and this was; ask it again.")
        self._taken[once] = now + _REMEMBERED

    async def _fernet(self) -> Fernet:
        if self._key is None:
            self._key = Fernet(await self._store.common(_KEY, Fernet.generate_key()))
        return self._key


def new_name() -> str:
    return uuid4().hex
