"""Random walks of a client that has the API hold its conversations (`thread` of the Messages API).

It goes on from the answer that comes last in what it is about to say and sends what follows; where
there is none, because the history was edited, it begins a thread with all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tests.support.scripted_api import ScriptedServer
from tests.support.spoken import Talk, Way, calls, events
from tests.support.walks import Settings, Walk

OPTIONS = {"unkeyed": "stateless"}
"""What the proxy needs: these walks name no session."""


@dataclass(frozen=True)
class Held:
    """The conversation up to the answer with this id, and what its thread was created with."""

    talk: Talk
    id: str
    settings: Settings


class ThreadWalk(Walk):
    def __init__(self, seed: int, api: ScriptedServer, prefix: str = "walk") -> None:
        super().__init__(seed, api, prefix)
        self._held: list[Held] = []

    @property
    def _headers(self) -> dict[str, str]:
        return {"x-api-key": self._name}

    def _way(self, sent: Talk, *, stream: bool | None = None) -> Way:
        return replace(super()._way(sent, stream=stream), api="messages")

    def _next_settings(self, sent: Talk) -> Settings:
        settings = super()._next_settings(sent)
        if held := self._goes_on_from(sent):
            kept = held.settings
            self._settings = settings = replace(settings, system=kept.system, tools=kept.tools)
        return settings

    def _goes_on_from(self, sent: Talk) -> Held | None:
        """Of the answers that were given twice the last, as clients have it."""
        found = [one for one in self._held if one.talk == sent[: len(one.talk)] != sent]
        return max(reversed(found), key=lambda one: len(one.talk), default=None)

    def _body(self, sent: Talk, way: Way, settings: Settings) -> bytes:
        body = json.loads(super()._body(sent, way, settings))
        if held := self._goes_on_from(sent):
            return self._rest(held, sent, way, body)
        return json.dumps({**body, "thread": {"type": "create"}}).encode()

    def _rest(self, held: Held, sent: Talk, way: Way, body: dict[str, Any]) -> bytes:
        new = json.loads(way.body(sent[len(held.talk) :]))["messages"]
        fields = {name: body[name] for name in body if name not in ("system", "tools")}
        after = {"type": "continue", "previous_message_id": held.id}
        return json.dumps({**fields, "messages": new, "thread": after}).encode()

    def _post(self, sent: Talk, way: Way, settings: Settings) -> httpx.Response:
        answer = super()._post(sent, way, settings)
        if "thread_continue_in_flight" in answer.text:  # what was left has yet to end
            self._held.clear()
            answer = super()._post(sent, way, settings)
        if answer.status_code == 200:
            said = way.read(answer.content)
            told = events(answer.content)[0]["message"] if way.stream else answer.json()
            # Calls that the limit has cut off are not kept: clients go on from the answer before.
            if not (calls(said) and b'"max_tokens"' in answer.content):
                talk = (*sent, said) if said.blocks else sent
                self._held.append(Held(talk, told["id"], settings))
        return answer


def walk_of(seed: int, api: ScriptedServer) -> Walk:
    """Every fourth in threads."""
    return (ThreadWalk if seed % 4 == 3 else Walk)(seed, api)
