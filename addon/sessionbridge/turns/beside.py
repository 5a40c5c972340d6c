"""What is kept of a turn beside its transcript, before it is committed: whoever goes on from it, or
asks for it by its id, is to find that. The database never holds a prompt."""

from __future__ import annotations

from sessionbridge.apis.openai_responses.conversations import turn_items
from sessionbridge.claude.pool.dispatcher import Dispatcher
from sessionbridge.claude.transcript import problems
from sessionbridge.claude.transcript.conversations import Added
from sessionbridge.model import Finished, KeptResponse, TurnRequest
from sessionbridge.sessions.planning.conversation import InConversation
from sessionbridge.sessions.planning.lineage import alternating
from sessionbridge.sessions.planning.memory import Memory
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.kept_instructions import KeptInstructions


class Beside:
    def __init__(
        self,
        dispatcher: Dispatcher,
        instructions: KeptInstructions,
        conversations: KeptConversations | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._instructions = instructions
        self._conversations = conversations

    async def keep(
        self, turn: TurnRequest, finished: Finished, memory: Memory, exchange: Exchange
    ) -> None:
        if memory.kind != "session":
            return
        if memory.holds or turn.store:
            await self._instructions.keep(turn, finished)
        if exchange.api == "responses" and turn.purpose == "answer":
            await self._keep_response(turn, finished, exchange)
        if isinstance(memory, InConversation):
            await self._keep_items(turn, finished, memory, exchange)

    async def _keep_response(
        self, turn: TurnRequest, finished: Finished, exchange: Exchange
    ) -> None:
        if turn.echo.get("store") is False:
            return
        outcome = exchange.outcome
        response = KeptResponse(
            id=outcome.response_id,
            asked=turn.echo,
            inputs=len(alternating(turn.messages)),
            answer=None if finished.exact else outcome.answer.blocks,
            thinking_tokens=finished.thinking_tokens,
        )
        with problems.told("A file beside the transcript", "kept"):
            await self._dispatcher.keep_response(finished.session_id, response)

    async def _keep_items(
        self, turn: TurnRequest, finished: Finished, memory: InConversation, exchange: Exchange
    ) -> None:
        """A turn that the conversation does not know is none of it."""
        if finished.tip is None:
            return
        outcome, kept = exchange.outcome, self._conversations
        assert kept is not None
        id_, after = memory.conversation, memory.end.entry_uuid if memory.end else None
        before = (await kept.read(id_, exchange.attempt.caller)).items(after)
        items = turn_items(turn, outcome.response_id, outcome.heard, finished, before)
        await kept.add(id_, Added(after, items, finished.tip))
