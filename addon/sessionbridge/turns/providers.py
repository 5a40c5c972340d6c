"""Which provider answers a request, and which one does where that cannot.

What goes on from an answer, or in a conversation that a client has created, is for the provider
that has it. All else is for the one that the request names, or for the first that is there for its
client, its model or its platform, or for the default.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from sessionbridge.allowances import ClientRules
from sessionbridge.apis.common.ids import is_made_here, message_id
from sessionbridge.claude.models import Table
from sessionbridge.config import Settings
from sessionbridge.errors import BadRequest, BridgeError, OptionsChanged, Refused
from sessionbridge.model import SessionKey
from sessionbridge.names import shown
from sessionbridge.providers import Provider
from sessionbridge.sessions.planning.moved import newest
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import is_of
from sessionbridge.turns.bridge import refusal
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Walk

logger = logging.getLogger(__name__)


class Providers:
    """`walk` is that of a provider, None for one that is not there any more; `store` is None where
    the session map is switched off."""

    def __init__(
        self, settings: Settings, walk: Callable[[str], Walk | None], store: StoreThread | None
    ) -> None:
        self._settings = settings
        self._walk = walk
        self._store = store

    async def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]:
        """Where one cannot answer, and nothing was sent yet, the next of its list does. Where none
        can, the error is that of the first."""
        names: Sequence[str] = (self._settings.default_provider,)
        try:
            names = await self._chosen(exchange)
        except BridgeError as error:
            exchange = replace(exchange, refused=error)
        told: Sequence[Head | Chunk] = ()
        outcome = exchange.outcome
        for index, name in enumerate(names):
            walk = self._walk(name)
            if walk is None:
                if not told:
                    for part in refusal(exchange, exchange.refused or _left(name)):
                        yield part
                    return
                break
            asked = self._asked_of(name, exchange, names[:index])
            async with aclosing(walk.handle(asked, body)) as parts:
                head = await anext(parts)
                is_last = not told and (not outcome.is_unable or len(names) == 1)
                if outcome.error is None or is_last:
                    yield head
                    async for part in parts:
                        yield part
                    return
                failed = [head, *[part async for part in parts]]
            told = told or failed
            logger.warning("the provider %s could not answer: %s", name, outcome.error)
            if not outcome.give_up().is_unable:
                break
        first, *others = outcome.attempts
        outcome.become(first)
        outcome.attempts = others
        for part in told:
            yield part

    async def prepare(self, exchange: Exchange, body: bytes) -> None:
        try:
            name, *_ = await self._chosen(exchange)
        except BridgeError as error:
            logger.debug("an announced turn was not prepared: %s", type(error).__name__)
        else:
            if (walk := self._walk(name)) is not None:
                await walk.prepare(self._asked_of(name, exchange, ()), body)

    def _asked_of(self, name: str, exchange: Exchange, after: Sequence[str]) -> Exchange:
        """Which one it is the client is told where the config names any."""
        told = name if self._settings.config.providers else None
        return replace(exchange, wanted=replace(exchange.wanted, provider=told), after=tuple(after))

    async def _chosen(self, exchange: Exchange) -> Sequence[str]:
        """In the order in which they are to be asked."""
        settings, wanted, named = self._settings, exchange.wanted, exchange.wanted.provider
        if exchange.node is not None and named is not None and named in settings.providers:
            return (named,)  # chosen where it came from
        if (name := self._of_conversation(exchange)) is not None:
            return (name,)
        name = await self._of_answer(exchange) or chosen(exchange, settings)
        if not (wanted.fallback and exchange.rules.fallback):
            return (name,)
        first = name if named or wanted.follows else await self._newest(name, exchange)
        return tuple(dict.fromkeys((first, name, *settings.providers[name].fallback)))

    def _of_conversation(self, exchange: Exchange) -> str | None:
        """The one that has the conversation that a client has created. With another API it does not
        go on, whoever has it: its id is no way to a provider."""
        named = exchange.wanted.conversation
        if named is None or exchange.api != "responses" or exchange.summary:
            return None
        return holder(named, self._settings)

    async def _of_answer(self, exchange: Exchange) -> str | None:
        """The one that has what a request goes on from."""
        follows = exchange.wanted.follows
        if follows is None or self._store is None or len(self._settings.providers) == 1:
            return None
        id_ = message_id(follows.partition("_")[0], follows) if is_made_here(follows) else None
        found = await self._store.response(id_) if id_ is not None else None
        if found is None or found.key.provider not in self._settings.providers:
            return None
        is_theirs = found.is_for(exchange.origin, exchange.attempt.caller)
        return found.key.provider if is_theirs else None

    async def _newest(self, name: str, exchange: Exchange) -> str:
        """The one that has taken up what is kept here of a conversation of this one. Where that has
        turned out to be the client, this one is asked each time."""
        origin = exchange.origin
        if origin is None or origin.history == "client" or self._store is None:
            return name
        if len(self._settings.providers) == 1:
            return name
        known = replace(origin, client=exchange.attempt.client)
        key = SessionKey(known.scope, known.external_id, name)
        held = await self._store.whereabouts(key)
        found = newest(held, name)
        if found not in self._settings.providers or found not in held:
            return name
        return name if held[found].history == "client" else found


def _left(name: str) -> OptionsChanged:
    return OptionsChanged(
        f"The provider {name} was taken out of the config when this request had come; try again."
    )


def holder(conversation: str, settings: Settings) -> str | None:
    """Of a conversation that was created here, by its id."""
    return next((name for name in settings.providers if is_of(name, conversation)), None)


def chosen(exchange: Exchange, settings: Settings) -> str:
    """For what goes on from nothing that one provider has. Raises `BadRequest` and `Refused` for a
    name that is none, or not for this client to give."""
    named = exchange.wanted.provider
    own = _own(exchange, settings)
    if named is None or named == own:
        return own
    client = exchange.attempt.client
    if client and named not in exchange.rules.providers:
        raise Refused(
            f"X-SessionBridge-Provider: {shown(named)} is not one that {client} may name; leave "
            "the header out, or have the provider added to this client's rules."
        )
    if named not in settings.providers:
        known = ", ".join(settings.providers)
        raise BadRequest(
            f"X-SessionBridge-Provider: there is no provider {shown(named)}; name one of {known}, "
            "or leave the header out."
        )
    return named


def names_for(client: str, rules: ClientRules, settings: Settings) -> Table:
    """The names of models that lead somewhere for this client: the common ones, and those of the
    providers that its turns may be for. Who is no client may name any."""
    tables = settings.providers
    own = _of_client(client, tables)

    def reaches(name: str, model: str) -> bool:
        if not client or name == own or name in rules.providers:
            return True
        table, is_default = tables[name], name == settings.default_provider
        return own is None and (is_default or bool(table.for_platforms) or table.runs(model))

    rows = ((name, row) for name, table in tables.items() for row in table.models.items())
    return (
        *(row for name, row in rows if reaches(name, row[0])),
        *settings.config.models.items(),
    )


def _of_client(client: str, tables: Mapping[str, Provider]) -> str | None:
    return next((name for name, table in tables.items() if client in table.for_clients), None)


def _own(exchange: Exchange, settings: Settings) -> str:
    tables, client, model = settings.providers, exchange.attempt.client, exchange.wanted.model
    if (own := _of_client(client, tables)) is not None:
        return own
    platform = exchange.origin.platform if exchange.origin else None
    ways: tuple[Callable[[str], bool], ...] = (
        lambda name: tables[name].runs(model),
        lambda name: platform in tables[name].for_platforms,
    )
    found = (name for is_for in ways for name in tables if is_for(name))
    return next(found, settings.default_provider)
