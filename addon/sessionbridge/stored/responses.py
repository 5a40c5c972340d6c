"""Responses by their ids: read from the ledger and the transcript that have them, and deleted.

What is not there, or was given to somebody else, is not found, in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sessionbridge.apis.openai_responses import stored as api
from sessionbridge.apis.openai_responses.answer import answered, response_id
from sessionbridge.apis.openai_responses.pages import page
from sessionbridge.apis.openai_responses.stored import StoredResponse
from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.claude.transcript import problems
from sessionbridge.errors import ItemNotFound, ProviderGone, SessionLost
from sessionbridge.model import Message, Origin
from sessionbridge.names import shown
from sessionbridge.sessions.planning.chained import lock_of
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread


class Responses:
    """`store` is None when the session map is switched off: then there are none. `dispatchers` has
    that of each provider, None where there is none of that name any more. Whoever asks is known by
    the `origin` that the request names and by its `caller`, as in `Attempt`."""

    def __init__(
        self,
        store: StoreThread | None,
        dispatchers: Callable[[str], Dispatcher | None],
        locks: Locks,
    ) -> None:
        self._store = store
        self._dispatchers = dispatchers
        self._locks = locks

    async def retrieve(self, id_: str, origin: Origin | None, caller: str) -> dict[str, Any]:
        return api.document(await self._stored(id_, origin, caller))

    async def has(self, id_: str, origin: Origin | None, caller: str) -> bool:
        """Whether it can be asked for: it may have been deleted with its conversation, and by
        another process."""
        try:
            found, dispatcher = await self._found(id_, origin, caller)
        except ItemNotFound:
            return False
        with problems.told("The response", "read"):
            return await dispatcher.response(found.end.session_id, found.id) is not None

    async def events(self, id_: str, origin: Origin | None, caller: str) -> list[dict[str, Any]]:
        """Those of its stream, each block in one piece."""
        return list(api.events(await self._stored(id_, origin, caller)))

    async def input_items(
        self, id_: str, origin: Origin | None, caller: str, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """One page of them."""
        stored = await self._stored(id_, origin, caller)
        return page(api.input_items(stored.asked, stored.kept.id, stored.turn), query)

    async def delete(self, id_: str, origin: Origin | None, caller: str) -> dict[str, Any]:
        """Nobody goes on from it any more. Its words stay as long as the conversation they are part
        of; where it was all of that, they are deleted with it. A turn that goes on from it comes to
        its end first: its answer is in the same session."""
        found, _ = await self._found(id_, origin, caller)
        async with self._locks.hold(lock_of(found), lambda: None):
            await self._delete(*await self._found(id_, origin, caller), id_)
        return {"id": response_id(found.id), "object": "response", "deleted": True}

    async def _delete(self, found: Response, dispatcher: Dispatcher, id_: str) -> None:
        session = found.end.session_id
        with problems.told("The response", "deleted"):
            if await dispatcher.response(session, found.id) is None:
                raise _gone(id_)
            await dispatcher.forget_response(session, found.id)
        assert self._store is not None
        if await self._store.forget_response(found.id):
            with problems.told("The response", "deleted"):
                await dispatcher.discard(session)

    async def _found(
        self, id_: str, origin: Origin | None, caller: str
    ) -> tuple[Response, Dispatcher]:
        message_id = answered(id_)
        if self._store is None or message_id is None:
            raise _gone(id_)
        found = await self._store.response(message_id)
        if found is None or not found.is_for(origin, caller):
            raise _gone(id_)
        dispatcher = self._dispatchers(found.key.provider)
        if dispatcher is None:
            raise ProviderGone(found.key.provider)
        return found, dispatcher

    async def _stored(self, id_: str, origin: Origin | None, caller: str) -> StoredResponse:
        found, dispatcher = await self._found(id_, origin, caller)
        session, turn = found.end.session_id, found.turn
        with problems.told("The response", "read"):
            kept = await dispatcher.response(session, found.id)
        if kept is None:
            raise _gone(id_)
        said: tuple[Message, ...] = ()
        with suppress(SessionLost):
            said = tuple(await dispatcher.said(session, found.end.entry_uuid, None))
        if not said:
            raise _gone(id_)
        asked = max((n for n, message in enumerate(said, 1) if message.role == "user"), default=0)
        answer = [block for message in said[asked:] for block in message.blocks]
        return StoredResponse(
            kept=kept,
            model=turn.model,
            stop_reason=turn.status,
            usage=turn.usage,
            started_at=turn.started_at,
            ended_at=turn.started_at + turn.duration_ms / 1000,
            asked=said[max(0, asked - kept.inputs) : asked],
            answer=answer if kept.answer is None else kept.answer,
        )


def _gone(id_: str) -> ItemNotFound:
    return ItemNotFound(f"Response with id {shown(id_)} not found.", param="response_id")
