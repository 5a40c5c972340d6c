"""The summaries that a client cannot read, and the key for them: in a file of the home, for its
owner alone, or in the database that nodes share. Proxies of one home, or of one database, open each
other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet

from sessionbridge.apis.common.summary import opened, shown
from sessionbridge.disk import make_once
from sessionbridge.errors import BadRequest, StoreUnavailable
from sessionbridge.model import Block, Message
from sessionbridge.sessions.store.store_thread import StoreThread

NAME = "summary-key"
"""Of the file, and in the database."""


def is_sealed(message: Message) -> bool:
    return any(block["type"] == "sealed_summary" for block in message.blocks)


class Seals:
    """`store` is None when the session map is switched off."""

    def __init__(self, home: Path, store: StoreThread | None) -> None:
        self._file = home / NAME
        self._shared = store if store is not None and store.place.is_shared else None

    async def key(self) -> bytes:
        """Made with the first summary. Raises `StoreUnavailable`."""
        if self._shared is not None:
            return await self._shared.common(NAME, Fernet.generate_key())
        return await asyncio.to_thread(self._key)

    async def opened(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """With the summaries as the model sees them. Raises `BadRequest` for one that was not made
        with this key."""
        if not any(map(is_sealed, messages)):
            return tuple(messages)
        key = await self.key()
        return tuple(
            Message(message.role, tuple(_opened(block, key) for block in message.blocks))
            for message in messages
        )

    async def check(self, sealed: Iterable[tuple[str, str]]) -> None:
        """Whether these can be opened, each with the field it stands in. Raises `BadRequest`."""
        found = tuple(sealed)
        key = await self.key() if found else b""
        for field, one in found:
            _summary(one, key, field)

    def _key(self) -> bytes:
        try:
            if not self._file.exists():
                make_once(self._file, Fernet.generate_key().decode())
            key = self._file.read_bytes()
        except OSError as error:
            raise StoreUnavailable(
                f"The key for summaries cannot be used ({error}); see whether {self._file.parent} "
                "can be written."
            ) from error
        try:
            Fernet(key)
        except ValueError:
            raise StoreUnavailable(
                f"{self._file} does not hold what sessionbridge wrote there; delete it."
            ) from None
        return key


def _opened(block: Block, key: bytes) -> Block:
    if block["type"] != "sealed_summary":
        return block
    return shown(_summary(block["sealed"], key, "input"))


def _summary(sealed: str, key: bytes, field: str) -> str:
    summary = opened(sealed, key)
    if summary is None:
        raise BadRequest(
            f"{field}: the encrypted content of a compaction item could not be verified; send it "
            "as it was given, to the proxy of the home it came from.",
            param=field,
            code="invalid_encrypted_content",
        )
    return summary
