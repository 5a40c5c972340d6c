"""A client, a bridge and a model on a walk: what was sent, what is kept, and what was seen."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine

from sessionbridge.turn import History
from tests.bridge_fixtures import Answer, House, ask, held
from tests.scripted_dispatcher import Conversation, ScriptedDispatcher
from tests.spoken import Talk, Way, assert_same, assistant, is_same, readable


class Walk(RuleBasedStateMachine):
    """One session key. `talk` is what the client shows its user; `kept` what it showed before;
    `committed` what the bridge keeps where the client does not; `said` all that the model said."""

    history: History

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.dispatcher = ScriptedDispatcher(self._answer)
        self.house = House(Path(self.folder.name), self.dispatcher)
        self.said: list[str] = []
        self.numbers = count(1)
        self.manner = "counted"
        self.talk: Talk = ()
        self.kept: list[Talk] = []
        self.last: tuple[Talk, Way] | None = None
        self.harmed = False
        self.nothing_is_known()

    def teardown(self) -> None:
        self.house.thread.close()
        self.runner.close()
        self.folder.cleanup()

    def nothing_is_known(self) -> None:
        self.committed: Talk = ()
        self.tip = ""
        self.resends = False

    def _answer(self, seen: Conversation) -> str:
        answers = {
            "counted": f"{len(readable(seen))} so far",
            "new": f"answer {next(self.numbers)}",
            "same": "Yes.",
            "padded": "\n  Yes. \n",
            "empty": "",
        }
        self.said.append(answers[self.manner])
        return self.said[-1]

    def client_holds(self, sent: Talk) -> bool:
        told = any(role == "assistant" for role, _ in readable(sent))
        return self.history == "client" or self.history == "learn" and (self.resends or told)

    def expected(self, sent: Talk) -> Talk:
        if self.client_holds(sent) or self.tip not in self.dispatcher.sessions:
            return sent
        spoken = [message for message in sent if readable([message])]
        last = max((n for n, m in enumerate(spoken) if m.role == "assistant"), default=-1)
        return (*self.committed, *spoken[last + 1 :])

    def begin(self, sent: Talk) -> Talk:
        """What the model has to see, to be called before the request is made."""
        self.before = len(self.dispatcher.seen)
        self.jobs = len(self.dispatcher.jobs)
        return self.expected(sent)

    def saw(self, expected: Sequence[Talk]) -> None:
        seen = self.dispatcher.seen[self.before :]
        assert len(seen) == len(expected)
        self.took(len(expected))
        for one, other in zip(seen, expected, strict=True):
            assert_same(one, other)

    def took(self, turns: int) -> None:
        """No turn looks for a session that is gone, unless somebody took one away."""
        assert self.harmed or len(self.dispatcher.jobs) - self.jobs == turns

    def commit(self, sent: Talk, saw: Talk, words: str | None = None) -> None:
        if self.client_holds(sent):
            self.resends = True
        else:
            self.committed = (*saw, assistant(self.said[-1] if words is None else words))
            self.tip = self.dispatcher.jobs[-1].session_id

    def send(self, sent: Talk, way: Way, *, whole: bool = True) -> None:
        """Under `client` a client that sends its last message alone has begun another chat."""
        self.last = (sent if whole or self.history == "client" else sent[-1:]), way
        self.show(sent, self.turn(*self.last))

    def show(self, sent: Talk, answer: str) -> None:
        self.talk = (*sent, assistant(answer))
        self.kept.append(self.talk)

    def turn(self, sent: Talk, way: Way, system: str = "") -> str:
        expected = self.begin(sent)
        answer = self.runner.run(self.ask(sent, way, system))
        self.saw([expected])
        assert self._read(answer, way) == self.said[-1]
        assert self.dispatcher.jobs[-1].system == system
        self.commit(sent, expected)
        return self.said[-1]

    def at_once(self, sents: Sequence[Talk], ways: Sequence[Way]) -> None:
        first = self.begin(sents[0])

        async def both() -> list[Answer]:
            return await asyncio.gather(*map(self.ask, sents, ways))

        answers = self.runner.run(both())
        if not is_same(self.dispatcher.seen[self.before], first):
            sents = sents[::-1]
        for number, sent in enumerate(sents):
            expected = self.expected(sent)
            assert_same(self.dispatcher.seen[self.before + number], expected)
            self.commit(sent, expected, self.said[number - 2])
        assert len(self.dispatcher.seen) == self.before + 2
        self.took(2)
        told = [self._read(answer, way) for answer, way in zip(answers, ways, strict=True)]
        assert sorted(told) == sorted(self.said[-2:])

    async def ask(self, sent: Talk, way: Way, system: str = "") -> Answer:
        return await ask(self.house.bridge, way.body(sent, system), held(self.history), way.api)

    def _read(self, answer: Answer, way: Way) -> str:
        assert answer.status == 200 and answer.whole, answer.body
        assert answer.exchange.outcome.turn is not None
        return way.read(answer.body)
