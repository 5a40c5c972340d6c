"""Responses that a client names by their ids, and messages that it sends as mere ids of what it was
answered before (`item_reference` of the Responses API): found again in the transcript of the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sessionbridge.errors import ItemNotFound, ProviderGone, SessionLost
from sessionbridge.model import Block, Message
from sessionbridge.names import shown
from sessionbridge.sessions.planning.memory import ReadMessages
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread

REFERENCE: Final = "item_reference"


def refers(message: Message) -> bool:
    return any(block["type"] == REFERENCE for block in message.blocks)


def named_in(messages: Iterable[Message], resolved: Iterable[Message]) -> Iterator[Block]:
    """What stands in the place of the references of these messages, in their order."""
    for message, found in zip(messages, resolved, strict=True):
        for block, there in zip(message.blocks, found.blocks, strict=True):
            if block["type"] == REFERENCE:
                yield there


class References:
    """`said_by` tells what a provider's sessions hold, and is None for one that is not there any
    more. Raises `ItemNotFound` for what is not known any more, and `ProviderGone`."""

    def __init__(
        self, store: StoreThread | None, said_by: Callable[[str], ReadMessages | None]
    ) -> None:
        self._store = store
        self._said_by = said_by

    async def response(
        self, response_id: str, theirs: Callable[[Response], bool]
    ) -> Response | None:
        """None for one that is not known, or not `theirs`."""
        found = await self._found(response_id, theirs)
        return found[0] if found else None

    async def _found(
        self, response_id: str, theirs: Callable[[Response], bool]
    ) -> tuple[Response, ReadMessages] | None:
        found = await self._store.response(response_id) if self._store else None
        if found is None or not theirs(found):
            return None
        if (said_by := self._said_by(found.key.provider)) is None:
            raise ProviderGone(found.key.provider)
        return found, said_by

    async def resolved(
        self, messages: Iterable[Message], theirs: Callable[[Response], bool]
    ) -> tuple[Message, ...]:
        """Of responses that are not `theirs` nothing is known here."""
        return tuple([await self._message(message, theirs) for message in messages])

    async def _message(self, message: Message, theirs: Callable[[Response], bool]) -> Message:
        if not refers(message):
            return message
        blocks = [await self._block(block, theirs) for block in message.blocks]
        return Message(message.role, tuple(blocks))

    async def _block(self, block: Block, theirs: Callable[[Response], bool]) -> Block:
        if block["type"] != REFERENCE:
            return block
        answer = await self._answer(block["response"], theirs)
        if answer is None or block["block"] >= len(answer):
            raise ItemNotFound(f"Item with id {shown(block['id'])} not found.", param="input")
        return answer[block["block"]]

    async def _answer(
        self, response_id: str, theirs: Callable[[Response], bool]
    ) -> Sequence[Block] | None:
        """The blocks of a response; its turn may have begun with messages that were fed to it."""
        known = await self._found(response_id, theirs)
        if known is None:
            return None
        found, said_by = known
        after = found.before.entry_uuid if found.before else None
        try:
            said = await said_by(found.end.session_id, found.end.entry_uuid, after)
        except SessionLost:
            return None
        asked = max((n for n, message in enumerate(said) if message.role == "user"), default=-1)
        return [block for message in said[asked + 1 :] for block in message.blocks]
