"""The memory of a request that names the response it goes on from (`previous_response_id` of the
Responses API, a thread of the Messages API), and so needs nothing else to be known by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessionbridge.errors import BridgeError, ResponseNotFound, ThreadNotFound
from sessionbridge.model import Attempt, Plan, TurnRequest
from sessionbridge.names import is_conversation
from sessionbridge.sessions.planning.lineage import Link
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.memory import ReadMessages, Remembered, key_lock
from sessionbridge.sessions.planning.plan import plan_after
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread


class Chained(Remembered):
    """What follows a response first goes on in its session, anything else that follows it is a
    fork. Nothing is compacted: a chain that is too long is an error of these APIs too. `gone` is
    what the API says of a response that is not known."""

    def __init__(
        self,
        response: Response,
        store: StoreThread,
        links: Sequence[Link],
        attempt: Attempt,
        manner: Manner,
        *,
        gone: BridgeError,
        said: ReadMessages,
    ) -> None:
        origin, provider = response.origin, response.key.provider
        super().__init__(
            store, origin, provider, links, attempt, manner, refuse_loss=True, said=said
        )
        self._response = response
        self._gone = gone

    @property
    def _learnt(self) -> Mapping[str, Any]:
        """Nothing: how the key's other requests show their history is not to be seen here."""
        return {}

    async def plan(self) -> Plan:
        response = await self._store.response(self._response.id)
        if response is None:
            raise self._gone
        plan = plan_after(self._links, response.end)
        # What was created can be deleted, and a turn that ends after that would bring it back.
        created = is_conversation(response.key.external_id)
        self.lock = lock_of(response) if created or plan.name == "resume" else None
        return plan

    async def plan_again(self, lost: Plan) -> Plan:
        assert lost.base is not None
        if plan := await self._brought_in(lost, self._links):
            return plan
        await self._store.forget_session(lost.base.session_id, unmap=False)
        raise self._gone


def lock_of(response: Response) -> str:
    """The one under which requests go on in the response's session."""
    return response.end.session_id if response.history == "client" else key_lock(response.key)


def gone(turn: TurnRequest) -> BridgeError:
    if turn.thread is not None:
        return ThreadNotFound()
    return ResponseNotFound(
        "previous_response_id: this response is no longer known; send the conversation without it.",
        param="previous_response_id",
    )
