"""What conversations were told that holds on in them, where the history is kept here."""

from __future__ import annotations

from collections.abc import Callable

from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.claude.transcript import problems
from sessionbridge.errors import ProviderGone, ThreadNotFound
from sessionbridge.model import Finished, Point, TurnRequest
from sessionbridge.sessions.planning.instructions import in_thread, of_conversation, with_earlier


class KeptInstructions:
    """Raises `StoreUnavailable` where their file cannot be used. They are kept with the
    `dispatcher`, and read where `dispatchers` tells for a provider; None for one that is not there
    any more."""

    def __init__(
        self, dispatcher: Dispatcher, dispatchers: Callable[[str], Dispatcher | None]
    ) -> None:
        self._dispatcher = dispatcher
        self._dispatchers = dispatchers

    async def under(self, turn: TurnRequest, provider: str, point: Point) -> TurnRequest:
        """The turn as one that goes on from there, under what the conversation was told earlier,
        where the request does not hold that. Raises `ThreadNotFound`, `ThreadMismatch`, and
        `ProviderGone`."""
        dispatcher = self._dispatchers(provider)
        if dispatcher is None:
            raise ProviderGone(provider)
        with problems.told("A file beside the transcript", "read"):
            told = await dispatcher.instructions(point.session_id, point.entry_uuid)
        turn = with_earlier(turn, told.texts)
        if turn.thread is None:
            return turn
        if told.thread is None:
            raise ThreadNotFound()
        return in_thread(turn, turn.thread, told.thread)

    async def keep(self, turn: TurnRequest, finished: Finished) -> None:
        """Before the turn is committed: whoever goes on from it is to find them."""
        if finished.tip is None:
            return
        told = of_conversation(turn)
        with problems.told("A file beside the transcript", "kept"):
            await self._dispatcher.keep_instructions(finished.session_id, finished.tip, told)
