"""The conversations that clients have created: their files beside the transcripts, which of the
turns in these are the last ones, and whose they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from sessionbridge.apis.common import ids
from sessionbridge.apis.openai_responses.conversations import kept_items, preceded, sealed_in
from sessionbridge.apis.openai_responses.request import place
from sessionbridge.claude.transcript import conversations as files
from sessionbridge.claude.transcript import problems
from sessionbridge.claude.transcript.conversations import Added, Conversation, Item
from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.disk import on_thread
from sessionbridge.errors import ConversationNotFound
from sessionbridge.model import Attempt, Origin, Point, SessionKey, TurnRequest
from sessionbridge.names import is_conversation, shown
from sessionbridge.sessions.planning.conversation import Reached
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.seals import Seals

_UNMARKED = len("conv_sb") + 32
"""Characters of an id before those that tell its provider, which nothing else does before the first
turn; the default's have none."""

_SCOPE = "openai"
"""Of the rule by which a request names one (see `origins.toml`)."""


class KeptConversations:
    """In the `folder` of the transcripts. What changes one is done by who holds its lock. `caller`
    is a hash of the credentials of who asks, `client` the name of one that is known by a token."""

    def __init__(
        self, store: StoreThread, folder: Callable[[], Path], provider: str, seals: Seals
    ) -> None:
        self._store = store
        self._folder = folder
        self._provider = provider
        self.seals = seals

    def key(self, id_: str, client: str) -> SessionKey:
        return SessionKey(self.origin(id_, client).scope, id_, self._provider)

    def origin(self, id_: str, client: str) -> Origin:
        return Origin(_SCOPE, id_, "conversation", "server", by_caller=True, client=client)

    def asked_in(self, id_: str, attempt: Attempt, turn: TurnRequest) -> AskedIn:
        return AskedIn(self, id_, attempt, turn)

    async def create(
        self, caller: str, items: Sequence[Any], metadata: Mapping[str, str]
    ) -> tuple[str, Conversation]:
        """Its id, too."""
        id_ = ids.made("conv", uuid4().hex + _mark(self._provider))
        given = (Added(None, new_items(items, ())),) if items else ()
        conversation = Conversation(time.time(), caller, metadata, given)
        await self.replace(id_, conversation)
        return id_, conversation

    async def read(self, id_: str, caller: str) -> Conversation:
        """Raises `ConversationNotFound` for one that is not there, or is somebody else's."""
        return await self._found(id_, caller, files.read)

    async def head(self, id_: str, caller: str) -> Conversation:
        """The same without its items."""
        return await self._found(id_, caller, files.head)

    async def _found(
        self, id_: str, caller: str, read: Callable[[Path], Conversation | None]
    ) -> Conversation:
        found = None
        if is_conversation(id_):
            await self._store.fetch(id_)
            with problems.told("The conversation", "read"):
                found = await on_thread(lambda: read(self._place(id_)))
        if found is None and is_conversation(id_) and not is_of(self._provider, id_):
            # Whoever is there is asked itself; which one that was its id does not tell.
            raise ConversationNotFound(
                f"Conversation with id {shown(id_)} not found. It was created with a provider that "
                "may have been taken out of the config; have it put back there."
            )
        if found is None or found.caller != caller:
            raise not_found(id_)
        return found

    async def last(self, id_: str, client: str, conversation: Conversation) -> Reached:
        """Of the turns in its file the newest that was committed."""
        for entry in conversation.turns:
            if found := await self._store.ended_at(self.key(id_, client), entry):
                return Reached(found, bool(conversation.since(entry)))
        return Reached(None, bool(conversation.since(None)))

    async def add(self, id_: str, added: Added) -> None:
        """Of a turn, with which it is kept."""
        with problems.told("The conversation", "written"):
            await on_thread(lambda: files.add(self._place(id_), added))

    async def give(self, id_: str, added: Added, under: str) -> None:
        """What a client has given, by who holds this lock of the conversation's."""
        async with self._store.changing(id_, under):
            await self.add(id_, added)

    async def replace(self, id_: str, conversation: Conversation, under: str | None = None) -> None:
        """By who holds this lock of one that is there already."""
        async with self._store.changing(id_, under):
            with problems.told("The conversation", "written"):
                await on_thread(lambda: files.write(self._place(id_), conversation))

    def _place(self, id_: str) -> Path:
        return files.place(self._folder(), id_)


class AskedIn:
    """The items of one conversation, for the `turn` that a request asks for in it."""

    def __init__(
        self, kept: KeptConversations, id_: str, attempt: Attempt, turn: TurnRequest
    ) -> None:
        self._kept = kept
        self._id = id_
        self._attempt = attempt
        self._turn = turn

    async def reached(self) -> Reached:
        return await self._kept.last(self._id, self._attempt.client, await self._read())

    async def asked(self, end: Point | None, *, whole: bool) -> TurnRequest:
        conversation, turn = await self._read(), self._turn
        entry = end.entry_uuid if end else None
        items = conversation.items(entry) if whole else conversation.since(entry)
        if not items and turn.messages:
            return turn
        turn = await on_thread(lambda: preceded(turn, items))
        seals = self._kept.seals
        await seals.check(sealed_in((place(item), item) for item in items))
        return replace(turn, messages=await seals.opened(turn.messages))

    async def _read(self) -> Conversation:
        return await self._kept.read(self._id, self._attempt.caller)


def is_of(provider: str, id_: str) -> bool:
    """Whether it is the id of a conversation that was created with this provider."""
    return is_conversation(id_) and id_[_UNMARKED:] == _mark(provider)


def _mark(provider: str) -> str:
    return "" if provider == DEFAULT else sha256(provider.encode()).hexdigest()[:8]


def new_items(values: Sequence[Any], before: Iterable[Item]) -> list[dict[str, Any]]:
    """As they are told from now on, behind those that came `before`."""
    return kept_items(values, ids.made("", uuid4().hex).removeprefix("_"), before)


def not_found(id_: str) -> ConversationNotFound:
    return ConversationNotFound(f"Conversation with id {shown(id_)} not found.")
