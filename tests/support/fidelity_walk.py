"""A client, a bridge and a model on a walk: what was sent, what is kept, and what was seen."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine

from sessionbridge.model import History, Message, ToolUseBlock
from sessionbridge.sessions.planning.lineage import chain
from tests.support.bridge_fixtures import Answer, House, ask, held
from tests.support.scripted_dispatcher import Conversation, ScriptedDispatcher
from tests.support.spoken import (
    Talk,
    Way,
    assert_same,
    assistant,
    calls,
    has_results,
    is_same,
    is_sound,
    readable,
)

TITLE = "You are a title generator."


@dataclass
class Line:
    """What was `committed`, and the session that is its `tip`. `asked` is the last turn: the
    request's hash, what the model saw, and the session it went on from."""

    committed: Talk = ()
    tip: str = ""
    asked: tuple[str, Talk, str] = ("", (), "")


class Walk(RuleBasedStateMachine):
    """One session key. `talk` is what the client shows its user; `kept` what it showed before;
    `said` all that the model said, and `calling` how many calls its next answer holds. `lines` are
    what the bridge keeps where the client does not: the one, or one for each system prompt while
    it is to be learnt who does."""

    history: History

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.dispatcher = ScriptedDispatcher(self._answer)
        self.house = House(Path(self.folder.name), self.dispatcher)
        self.said: list[Message] = []
        self.numbers = count(1)
        self.manner = "counted"
        self.calling = 0
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
        self.lines: defaultdict[str, Line] = defaultdict(Line)
        self.system = ""
        self.resends = False

    @property
    def line(self) -> Line:
        return self.lines[self.system if self.history == "learn" else ""]

    @property
    def waits(self) -> bool:
        """Whether calls wait for results in what the client shows."""
        return bool(self.talk and calls(self.talk[-1]))

    def _answer(self, seen: Conversation) -> Message:
        answers = {
            "counted": f"{len(readable(seen))} so far",
            "new": f"answer {next(self.numbers)}",
            "same": "Yes.",
            "padded": "\n  Yes. \n",
            "empty": "",
        }
        words = answers[self.manner]
        made = [self.call() for _ in range(self.calling)]
        self.calling = 0
        self.said.append(assistant(*filter(None, [words]), *made))
        return assistant(words, *made)

    def call(self) -> ToolUseBlock:
        id_ = f"call_{next(self.numbers)}"
        return {"type": "tool_use", "id": id_, "name": "add", "input": {"n": [1, 2]}}

    def client_holds(self, sent: Talk) -> bool:
        told = any(role == "assistant" for role, _ in readable(sent))
        resends = self.resends or told or self.shows_what_was_not_answered(sent)
        return self.history == "client" or self.history == "learn" and resends

    def shows_what_was_not_answered(self, sent: Talk) -> bool:
        """Where the model has said nothing yet, a client that resends has no answer to show."""
        shown, kept = readable(sent), readable(self.line.committed)
        if not shown or [role for role, _ in kept] != ["user"]:
            return False
        (_, before), (_, now) = kept[0], shown[0]
        return now[: len(before)] == before and len(now) > len(before)

    def expected(self, sent: Talk) -> Talk:
        if self.client_holds(sent) or not self.knows(sent):
            return sent
        if self.repeats(sent):
            _, saw, _ = self.line.asked
            return saw
        if self.shows_other_calls(sent):
            return sent
        return (*self.line.committed, *self.new(sent))

    def knows(self, sent: Talk) -> bool:
        """Whether the session is there that this goes on from. A retry goes on from where the first
        did."""
        session = self.line.asked[2] if self.repeats(sent) else self.line.tip
        return session in self.dispatcher.sessions

    def new(self, sent: Talk) -> Talk:
        spoken = [message for message in sent if readable([message])]
        last = max((n for n, m in enumerate(spoken) if m.role == "assistant"), default=-1)
        return tuple(spoken[last + 1 :])

    def repeats(self, sent: Talk) -> bool:
        """Results that come once more are those of a retry."""
        return has_results(self.new(sent)) and chain(sent)[-1].hash == self.line.asked[0]

    def shows_other_calls(self, sent: Talk) -> bool:
        """Results whose calls are not those that wait are answers to what the client shows."""
        new = self.new(sent)
        kept = is_sound((*self.line.committed[-1:], *new))
        return has_results(new) and not kept and any(calls(link.message) for link in chain(sent))

    def refuses(self, sent: Talk) -> bool:
        """Whether calls are left without results, or results without calls."""
        return not is_sound(self.expected(sent))

    def begin(self, sent: Talk) -> Talk:
        """What the model has to see, to be called before the request is made."""
        self.before = len(self.dispatcher.seen)
        self.jobs = len(self.dispatcher.jobs)
        expected = self.expected(sent)
        known = self.client_holds(sent) or self.knows(sent)
        if not known and not self.refuses(sent):
            self.line.committed, self.line.tip = (), ""  # is found out, and forgotten
        return expected

    def saw(self, expected: Sequence[Talk]) -> None:
        seen = self.dispatcher.seen[self.before :]
        assert len(seen) == len(expected)
        self.took(len(expected))
        for one, other in zip(seen, expected, strict=True):
            assert_same(one, other)

    def took(self, turns: int) -> None:
        """No turn looks for a session that is gone, unless somebody took one away."""
        bases = [job.plan.base for job in self.dispatcher.jobs[self.jobs :]]
        gone = sum(base is not None and base.is_open for base in bases)
        assert self.harmed or len(bases) - gone <= turns <= len(bases)

    def commit(self, sent: Talk, saw: Talk, answer: Message | None = None) -> None:
        if self.client_holds(sent):
            self.resends = True
        else:
            line = self.line
            before = line.asked[2] if self.repeats(sent) else line.tip
            line.committed = (*saw, answer or self.said[-1])
            line.asked = chain(sent)[-1].hash, saw, before
            line.tip = self.dispatcher.jobs[-1].session_id

    def send(self, sent: Talk, way: Way, *, whole: bool = True) -> None:
        """Under `client` a client that sends its last message alone has begun another chat."""
        self.last = (sent if whole or self.history == "client" else sent[-1:]), way
        self.show(sent, self.turn(*self.last))

    def show(self, sent: Talk, answer: Message | None) -> None:
        if answer is None:
            return
        self.talk = (*sent, answer)
        self.kept.append(self.talk)

    def turn(self, sent: Talk, way: Way, system: str = "") -> Message | None:
        """The answer, or None where the request was refused as it has to be."""
        self.system = system
        try:
            return self._turn(sent, way, system)
        finally:
            self.system = ""

    def _turn(self, sent: Talk, way: Way, system: str) -> Message | None:
        refused, expected = self.refuses(sent), self.begin(sent)
        answer = self.runner.run(self.ask(sent, way, system))
        if refused:
            self.calling = 0
            assert answer.status == 400 and len(self.dispatcher.seen) == self.before
            return None
        self.saw([expected])
        assert self._read(answer, sent, way) == self.said[-1]
        # A history kept here goes on under what it was told before.
        held = ("", TITLE) if self.history == "server" and not system else (system,)
        assert self.dispatcher.jobs[-1].system in held
        self.commit(sent, expected)
        return self.said[-1]

    def at_once(self, sents: Sequence[Talk], ways: Sequence[Way]) -> None:
        first = self.begin(sents[0])

        async def both() -> list[Answer]:
            return await asyncio.gather(*map(self.ask, sents, ways))

        answers = self.runner.run(both())
        in_turn = sents
        if not is_same(self.dispatcher.seen[self.before], first):
            in_turn = sents[::-1]
        for number, sent in enumerate(in_turn):
            expected = self.expected(sent)
            assert_same(self.dispatcher.seen[self.before + number], expected)
            self.commit(sent, expected, self.said[number - 2])
        assert len(self.dispatcher.seen) == self.before + 2
        self.took(2)
        told = list(map(self._read, answers, sents, ways))
        assert sorted(told, key=str) == sorted(self.said[-2:], key=str)

    async def ask(self, sent: Talk, way: Way, system: str = "") -> Answer:
        way = way.able(sent)
        return await ask(self.house.bridge, way.body(sent, system), held(self.history), way.api)

    def _read(self, answer: Answer, sent: Talk, way: Way) -> Message:
        assert answer.status == 200 and answer.whole, answer.body
        assert answer.exchange.outcome.turn is not None
        return way.able(sent).read(answer.body)
