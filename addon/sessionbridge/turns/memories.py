"""Which memory a request has: by what it goes on from, by what it names, or by nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from sessionbridge.apis.openai_responses.request import kept_in
from sessionbridge.config import Settings
from sessionbridge.errors import BadRequest, Refused, SessionLost, ThreadsUnsupported
from sessionbridge.model import Origin, TurnRequest
from sessionbridge.names import is_conversation
from sessionbridge.sessions.origins.fingerprint import fingerprint
from sessionbridge.sessions.planning.chained import Chained, gone
from sessionbridge.sessions.planning.conversation import InConversation
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.memory import (
    Continued,
    Fleeting,
    Memory,
    Remembered,
    Summarized,
)
from sessionbridge.sessions.planning.moved import Movable, MovedAfter, SaidBy
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import KeptConversations, not_found
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.request_body import Spoken


class Memories:
    """`store` is None when the session map is switched off; `said_by` tells what a provider's
    sessions hold; `conversations` are those that clients have created."""

    def __init__(
        self,
        settings: Settings,
        store: StoreThread | None,
        said_by: SaidBy,
        conversations: KeptConversations | None,
    ) -> None:
        self._settings = settings
        self._provider = settings.provider
        self._store = store
        self._said_by = said_by
        self._conversations = conversations
        self._others: bool | None = None

    async def of(self, turn: TurnRequest, spoken: Spoken, exchange: Exchange) -> Memory:
        memory = await self._remembered(turn, spoken, exchange)
        if turn.thread is not None and memory.kind != "session":
            raise ThreadsUnsupported(
                "thread: conversations are not kept here, as SESSIONBRIDGE_MAPPER or "
                "sessionbridge_unkeyed says; send them whole, without thread.",
                param="thread",
            )
        return memory

    async def _remembered(self, turn: TurnRequest, spoken: Spoken, exchange: Exchange) -> Memory:
        links, said = spoken.links, self._said_by(self._provider)
        assert said is not None
        if self._store is not None and spoken.previous is not None:
            previous = spoken.previous
            exchange.outcome.origin = previous.origin
            asked = links, exchange.attempt, spoken.manner
            if previous.key.provider == self._provider:
                return Chained(previous, self._store, *asked, gone=gone(turn), said=said)
            there = self._said_by(previous.key.provider)
            assert there is not None  # or it would not have been found
            here = previous, self._store, self._provider
            return MovedAfter(*here, *asked, gone=gone(turn), said=there)
        if (created := kept_in(turn.echo.get("conversation"))) is not None:
            return await self._in_conversation(created, turn, spoken, exchange)
        exchange.outcome.origin = origin = self._origin(turn, links, exchange)
        if origin is None:
            if self._settings.unkeyed != "continue":
                return Fleeting("stateless", links)
            await self._check_alone()
            return Continued(links)
        if self._store is None:
            return Fleeting("mapper_off", links)
        if origin.by_caller and is_conversation(origin.external_id):
            raise BadRequest(
                f"{origin.external_id} goes on where the Responses API names it as its "
                "conversation; send this to /v1/responses.",
                param="conversation",
            )
        if turn.purpose == "summary":
            return Summarized(self._store, origin, self._provider, links)
        how = self._store, origin, self._provider, links, exchange.attempt, spoken.manner
        refuse = self._settings.memory_lost == "error"
        if not await self._has_others(self._store):
            return Remembered(*how, refuse_loss=refuse, said=said)
        after = exchange.after
        return Movable(*how, refuse_loss=refuse, said=said, said_by=self._said_by, after=after)

    async def _has_others(self, store: StoreThread) -> bool:
        """Whether another provider may have the conversation, also one that the config no longer
        names: that is found out once, as these are made anew with the config."""
        if len(self._settings.providers) > 1:
            return True
        if self._others is None:
            self._others = await store.has_others(self._provider)
        return self._others

    async def _check_alone(self) -> None:
        """Claude's most recent session may be anybody's. Raises `Refused` where clients are to have
        sessions of their own."""
        if self._store is not None and await self._store.has_clients():
            raise Refused(
                "This request names no conversation, and by sessionbridge_unkeyed=continue would "
                "go on in the most recent one, which may be another client's: name one, in "
                "X-SessionBridge-Session for example, or set another sessionbridge_unkeyed."
            )

    def _origin(
        self, turn: TurnRequest, links: Sequence[Link], exchange: Exchange
    ) -> Origin | None:
        origin, unkeyed = exchange.origin, self._settings.unkeyed
        if origin is None and unkeyed == "fingerprint":
            origin = fingerprint(exchange.attempt.caller, links[0])
        if origin is None and unkeyed == "stateless" and turn.store:
            # The client may come back to the response by its id.
            origin = Origin(exchange.api, str(uuid4()), "conversation", "client")
        if origin is None:
            return None
        origin = replace(origin, client=exchange.attempt.client)
        # A thread begins with all of it, as does what begins with a summary.
        is_whole = turn.thread is not None or (turn.summarized and origin.history == "learn")
        return replace(origin, history="client") if is_whole else origin

    async def whole(
        self, turn: TurnRequest, spoken: Spoken, previous: Response, exchange: Exchange
    ) -> tuple[TurnRequest, Spoken, Exchange]:
        """What is to be summarised, with all that was said up to the response it follows."""
        end = previous.end
        said_by = self._said_by(previous.key.provider)
        assert said_by is not None
        try:
            said = await said_by(end.session_id, end.entry_uuid, None)
        except SessionLost as error:
            raise gone(turn) from error
        messages = [*said, *(link.message for link in spoken.links)]
        told = Spoken(chain(messages), spoken.manner)
        return replace(turn, previous=None), told, replace(exchange, origin=previous.origin)

    async def _in_conversation(
        self, id_: str, turn: TurnRequest, spoken: Spoken, exchange: Exchange
    ) -> Memory:
        """Whatever else the request names: its items are of that conversation alone."""
        if self._store is None or self._conversations is None:
            raise not_found(id_)
        attempt = exchange.attempt
        # Before it is taken on: what goes on in the background tells nobody that there is none.
        await self._conversations.head(id_, attempt.caller)
        exchange.outcome.origin = origin = self._conversations.origin(id_, attempt.client)
        items = self._conversations.asked_in(id_, attempt, turn)
        how = spoken.links, attempt, spoken.manner
        return InConversation(items, self._store, origin, self._provider, *how)
