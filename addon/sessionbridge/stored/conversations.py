"""Conversations that clients create, look at, change and delete by the Responses API
(https://platform.openai.com/docs/api-reference/conversations).

What changes one waits for the turns under way in it, as they wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sessionbridge.apis.openai_responses import conversations as api
from sessionbridge.apis.openai_responses.pages import page, place_of
from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.claude.transcript.conversations import Added, Conversation, Item
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import KeptConversations, new_items


class Conversations:
    """Those of a `client`. `caller` is a hash of the credentials of who asks."""

    def __init__(
        self,
        kept: KeptConversations,
        store: StoreThread,
        dispatcher: Dispatcher,
        locks: Locks,
        client: str,
    ) -> None:
        self._kept = kept
        self._store = store
        self._dispatcher = dispatcher
        self._locks = locks
        self._client = client

    async def create(
        self, caller: str, items: Sequence[Item], metadata: Mapping[str, str]
    ) -> dict[str, Any]:
        await self._check_seals(items)
        return _document(*await self._kept.create(caller, items, metadata))

    async def retrieve(self, id_: str, caller: str) -> dict[str, Any]:
        return _document(id_, await self._kept.head(id_, caller))

    async def update(self, id_: str, caller: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        async with self._alone(id_, caller):
            changed = replace(await self._kept.read(id_, caller), metadata=metadata)
            await self._kept.replace(id_, changed, self._lock(id_))
            return _document(id_, changed)

    async def delete(self, id_: str, caller: str) -> dict[str, Any]:
        """With all that was said in it, also what its responses are known by."""
        key = self._key(id_)
        async with self._alone(id_, caller):
            for name in (await self._store.holdings(key)).files:  # its own comes last
                await self._discard(name)
            await self._store.delete(key)
        return {"id": id_, "object": "conversation.deleted", "deleted": True}

    async def add_items(self, id_: str, caller: str, given: Sequence[Item]) -> dict[str, Any]:
        await self._check_seals(given)
        async with self._alone(id_, caller):
            conversation = await self._kept.read(id_, caller)
            end = await self._end(id_, conversation)
            items = new_items(given, conversation.items(end))
            await self._kept.give(id_, Added(end, items), self._lock(id_))
        return page(items, {"order": "asc"})

    async def items(self, id_: str, caller: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of them."""
        return page(await self._items(id_, await self._kept.read(id_, caller)), query)

    async def item(self, id_: str, caller: str, item_id: str) -> Item:
        items = await self._items(id_, await self._kept.read(id_, caller))
        return items[place_of(item_id, items, "item_id")]

    async def delete_item(self, id_: str, caller: str, item_id: str) -> dict[str, Any]:
        """It goes on without it, in a new session. Those before are kept where a response is asked
        for by its id."""
        async with self._alone(id_, caller):
            conversation = await self._kept.read(id_, caller)
            items = await self._items(id_, conversation)
            del items[place_of(item_id, items, "item_id")]
            left = replace(conversation, added=(Added(None, items),))
            for session in (await self._store.holdings(self._key(id_))).sessions:
                if not await self._dispatcher.has_responses(session):
                    await self._store.forget_session(session, unmap=True)
                    await self._discard(session)
            await self._kept.replace(id_, left, self._lock(id_))
        return _document(id_, left)

    async def _check_seals(self, items: Sequence[Item]) -> None:
        placed = ((f"items.{index}", item) for index, item in enumerate(items))
        await self._kept.seals.check(api.sealed_in(placed))

    async def _items(self, id_: str, conversation: Conversation) -> list[Item]:
        return conversation.items(await self._end(id_, conversation))

    async def _end(self, id_: str, conversation: Conversation) -> str | None:
        """The entry at which its last turn ended; None where there was none."""
        last = (await self._kept.last(id_, self._client, conversation)).last
        return last.end.entry_uuid if last else None

    @asynccontextmanager
    async def _alone(self, id_: str, caller: str) -> AsyncIterator[None]:
        """While nobody else changes the conversation."""
        await self._kept.head(id_, caller)  # whose it is not does not wait
        async with self._locks.hold(self._lock(id_), lambda: None):
            await self._kept.head(id_, caller)
            yield

    def _lock(self, id_: str) -> str:
        return key_lock(self._key(id_))

    def _key(self, id_: str) -> SessionKey:
        return self._kept.key(id_, self._client)

    async def _discard(self, name: str) -> None:
        try:
            await self._dispatcher.discard(name)
        except OSError as error:
            raise StoreUnavailable(
                f"Not all files of this conversation could be deleted ({error.strerror}); see "
                "whether Claude's folder can be written, and try again."
            ) from error


def _document(id_: str, conversation: Conversation) -> dict[str, Any]:
    return api.document(id_, conversation.created_at, conversation.metadata)
