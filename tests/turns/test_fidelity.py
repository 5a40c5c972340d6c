"""The law on long random walks: the model sees what the client holds, or what is kept for it.

`FIDELITY_EXAMPLES=5000 scripts/test tests/turns/test_fidelity.py` takes many more walks than usual.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sessionbridge.errors import ClaudeFailed
from sessionbridge.model import Block, Message, ToolResultBlock, ToolUseBlock
from sessionbridge.turns.exchange import Exchange
from tests.support.bridge_fixtures import held
from tests.support.fidelity_walk import TITLE, Walk
from tests.support.spoken import (
    Way,
    assistant,
    calls,
    image,
    questions,
    result,
    text,
    text_in,
    user,
)

WORDS = st.sampled_from(["a", "b", " a\n", "@/etc/hostname", "/cost", "zwölf 🦊", "a\n\nb"])
SAID = st.builds(
    user,
    WORDS,
) | st.lists(st.builds(text, WORDS | st.just(" ")) | st.just(image()), max_size=2).map(
    lambda blocks: user("c", *blocks)
)
WAYS = st.builds(
    Way,
    st.sampled_from(["messages", "chat"]),
    st.booleans(),
    st.sampled_from(["strings", "blocks", "split"]),
)
RESULTS: dict[str, Callable[[ToolUseBlock], ToolResultBlock]] = {
    "text": lambda call: result(call, "3"),
    "empty": lambda call: result(call),
    "blocks": lambda call: result(call, [text("3"), text("4")]),
    "failed": lambda call: result(call, "no such number", is_error=True),
    "image": lambda call: result(call, [text("3"), image()]),
}
PLACES = st.integers(0, 30)
CONTEXT = user("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone")


class Client(Walk):
    """All that clients do, and what happens to a bridge."""

    # -- what the client does ---------------------------------------------------------------------

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS, whole=st.booleans())
    def append(self, said: Message, way: Way, whole: bool) -> None:
        self.send((*self.talk, said), way, whole=whole)

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS, whole=st.booleans())
    def append_once_more(self, said: Message, way: Way, whole: bool) -> None:
        self.send((*self.talk, said), way, whole=whole)

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS, whole=st.booleans(), number=st.integers(1, 2))
    def be_asked_for_results(self, said: Message, way: Way, whole: bool, number: int) -> None:
        self.calling = number
        self.send((*self.talk, said), way, whole=whole)

    @precondition(lambda self: self.waits)
    @rule(
        kinds=st.tuples(*[st.sampled_from([*RESULTS])] * 2),
        backwards=st.booleans(),
        beside=st.just(()) | st.builds(lambda said: said.blocks, SAID),
        way=WAYS,
        whole=st.booleans(),
        again=st.integers(0, 1),
    )
    def give_results(
        self,
        kinds: tuple[str, str],
        backwards: bool,
        beside: tuple[Block, ...],
        way: Way,
        whole: bool,
        again: int,
    ) -> None:
        """`again` is how many calls the model makes then."""
        made = zip(calls(self.talk[-1]), kinds, strict=False)
        results = [RESULTS[kind](call) for call, kind in made]
        self.calling = again
        said = user(*results[:: -1 if backwards else 1], *beside)
        self.send((*self.talk, said), way, whole=whole)

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS)
    def with_context_that_is_gone_from_the_next(self, said: Message, way: Way) -> None:
        answer = self.turn((*self.talk, said, CONTEXT), way)
        self.show((*self.talk, said), answer)

    @precondition(lambda self: self.talk)
    @rule(said=SAID, way=WAYS, place=PLACES)
    def edit(self, said: Message, way: Way, place: int) -> None:
        places = questions(self.talk)
        assume(places)
        self.send((*self.talk[: places[place % len(places)]], said), way)

    @precondition(lambda self: self.talk)
    @rule(way=WAYS)
    def regenerate(self, way: Way) -> None:
        self.send(self.talk[:-1], way)

    @precondition(lambda self: self.talk)
    @rule()
    def delete_the_last_exchange(self) -> None:
        self.talk = self.talk[:-2]

    @precondition(lambda self: self.talk)
    @rule()
    def slide_the_window(self) -> None:
        starts = [*questions(self.talk), len(self.talk)]
        self.talk = self.talk[starts[1] if starts[1:] else starts[0] :]

    @precondition(lambda self: self.kept)
    @rule(place=PLACES)
    def branch_back(self, place: int) -> None:
        self.talk = self.kept[place % len(self.kept)]

    @precondition(lambda self: self.talk)
    @rule(how=st.sampled_from(["trim", "cut", "reword", "split", "leave out"]))
    def rewrite_the_answer(self, how: str) -> None:
        said = text_in(self.talk[-1])
        half = len(said) // 2
        blocks: dict[str, list[Block | str]] = {
            "trim": [said.strip()],
            "cut": [said[:half]],
            "reword": ["not what was said"],
            "split": [said[:half], said[half:]],
            "leave out": [],
        }
        self.talk = (*self.talk[:-1], assistant(*blocks[how], *calls(self.talk[-1])))

    @precondition(lambda self: not self.waits)
    @rule()
    def a_tool_was_used_elsewhere(self) -> None:
        call = self.call()
        returned = user(result(call, "3"))
        used = user("use it"), assistant("I will.", call), returned, assistant("Done.")
        self.talk = (*self.talk, *used)

    @precondition(lambda self: self.last)
    @rule()
    def retry(self) -> None:
        assert self.last is not None
        self.show(self.last[0], self.turn(*self.last))

    @rule(about=WORDS, way=WAYS)
    def title_call(self, about: str, way: Way) -> None:
        self.turn((user("Generate a title:", about),), way, TITLE)

    @precondition(lambda self: not self.waits)
    @rule(one=SAID, two=SAID, ways=st.tuples(WAYS, WAYS))
    def two_tabs_at_once(self, one: Message, two: Message, ways: tuple[Way, Way]) -> None:
        sents = [(*self.talk, one), (*self.talk, two)]
        assume(not any(map(self.refuses, sents)))
        self.at_once(sents, ways)

    @precondition(lambda self: not self.talk or self.client_holds(()) and not self.waits)
    @rule(said=SAID, ways=st.tuples(WAYS, WAYS))
    def title_call_at_once(self, said: Message, ways: tuple[Way, Way]) -> None:
        sents = [(*self.talk, said), (user("Generate a title:", "a"),)]
        assume(not any(map(self.refuses, sents)))
        self.at_once(sents, ways)

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS, parts=st.integers(1, 5))
    def leave_in_mid_stream(self, said: Message, way: Way, parts: int) -> None:
        sent = (*self.talk, said)
        assume(not self.refuses(sent))
        before, way = self.begin(sent), way.able(sent)
        exchange = Exchange(way.api, held(self.history))

        async def leave() -> None:
            body = way.body(sent)
            async with aclosing(self.house.bridge.handle(exchange, body)) as answer:
                for _ in range(parts):
                    if await anext(answer, None) is None:
                        break

        self.runner.run(leave())
        self.saw([before])
        if exchange.outcome.turn is not None:
            self.commit(sent, before)

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS)
    def leave_before_the_first_word(self, said: Message, way: Way) -> None:
        sent = (*self.talk, said)
        assume(not self.refuses(sent))
        before = self.begin(sent)

        async def leave() -> None:
            self.dispatcher.gate = asyncio.Event()
            self.dispatcher.waiting.clear()
            asking = asyncio.create_task(self.ask(sent, way))
            waiting = asyncio.create_task(self.dispatcher.waiting.wait())
            await asyncio.wait([asking, waiting], return_when=asyncio.FIRST_COMPLETED)
            asking.cancel()
            waiting.cancel()
            await asyncio.gather(asking, waiting, return_exceptions=True)

        self.runner.run(leave())
        self.dispatcher.gate = None
        self.saw([before])

    @precondition(lambda self: not self.waits)
    @rule(said=SAID, way=WAYS, begun=st.booleans())
    def the_process_is_killed(self, said: Message, way: Way, begun: bool) -> None:
        sent = (*self.talk, said)
        assume(not self.refuses(sent))
        before = self.begin(sent)
        failure = ClaudeFailed("The Claude CLI ended in the middle of a turn; try again.")
        self.dispatcher.breaks, self.dispatcher.fails = (failure, None)[:: 1 if begun else -1]
        answer = self.runner.run(self.ask(sent, way))
        self.dispatcher.breaks = self.dispatcher.fails = None
        assert answer.exchange.outcome.turn is None and answer.exchange.outcome.error
        self.saw([before])

    # -- what happens to the bridge ---------------------------------------------------------------

    @rule()
    def the_proxy_is_restarted(self) -> None:
        self.the_processes_are_ended()
        self.house.restart()

    @rule()
    def the_processes_are_ended(self) -> None:
        self.dispatcher.waiting_for_tools.clear()

    @rule()
    def the_database_is_deleted(self) -> None:
        """It is made anew from what is beside the transcripts."""
        self.house.lose_database()

    @rule()
    def everything_is_lost(self) -> None:
        self.house.lose_everything()
        self.nothing_is_known()

    @precondition(lambda self: self.dispatcher.sessions)
    @rule(place=PLACES)
    def a_session_is_lost(self, place: int) -> None:
        self.harmed = True
        sessions = list(self.dispatcher.sessions)
        self.dispatcher.lose(sessions[place % len(sessions)])

    @rule()
    def all_sessions_are_lost(self) -> None:
        self.harmed = True
        self.dispatcher.sessions.clear()

    @rule(manner=st.sampled_from(["counted", "new", "same", "padded", "empty"]))
    def the_model_answers_in_another_manner(self, manner: str) -> None:
        self.manner = manner


class ClientHeld(Client):
    history = "client"


class ServerHeld(Client):
    history = "server"


class Learnt(Client):
    history = "learn"


MANY = settings(
    max_examples=int(os.environ.get("FIDELITY_EXAMPLES", "60")) // 3,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
for walk in (ClientHeld, ServerHeld, Learnt):
    walk.TestCase.settings = MANY

TestClientHeld = ClientHeld.TestCase
TestServerHeld = ServerHeld.TestCase
TestLearnt = Learnt.TestCase
