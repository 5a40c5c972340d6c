"""The messages of one request, as the rules of all APIs leave them.

Promises: message boundaries stay where the client set them; a message without blocks is left out,
because the API behind the CLI refuses it; calls and their results belong together (see `Calls`);
the last word is the user's and says something.

Instructions within the messages are added to the system prompt, the one place the CLI has for them,
unless an answer follows where the user has said nothing since the one before, or is wanted there:
the last instruction is what the model answers, so it stands in the user's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

from sessionbridge.apis.common.body import refused
from sessionbridge.apis.common.tools import LONGEST_NAME, allowed
from sessionbridge.model import Block, Message, Role, is_blank
from sessionbridge.names import few, shown

_NUMBER = re.compile(r"_\d+$")


class CallWords(NamedTuple):
    """An API's own sentences for calls without a result and for a result without its call; `{}` is
    where the ids stand."""

    unanswered: str
    uncalled: str


class _Instruction(NamedTuple):
    texts: list[str]
    field: str


class Messages:
    """Takes the messages of a request in order, then tells whether they ask anything."""

    def __init__(self, words: CallWords) -> None:
        self._calls = Calls(words)
        self._system: list[str] = []
        self._within: list[str] = []
        self._instructions: list[_Instruction] = []
        """Those since the last message, which decides where they go."""
        self._messages: list[Message] = []
        self._last: tuple[Role, str] | None = None
        self._asks = False

    def instruct(self, texts: Iterable[str]) -> None:
        """Adds to the system prompt. Blank texts say nothing and are left out."""
        self._system += said(texts)

    def instruct_within(self, texts: Iterable[str], field: str) -> None:
        """Adds a message that instructs. `field` is where it stands in the request."""
        if told := said(texts):
            self._instructions.append(_Instruction(told, field))

    def say(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        """Adds a message. `field` is where it stands in the request."""
        kept = tuple(block for block in blocks if not is_blank(block))
        if kept:
            answers_one = role == "assistant" and bool(self._messages) and self._answer_is_last
            self._place_instructions(asked=answers_one and not self._calls.waiting)
            self._add(role, kept, field)
        self._asks = role == "user" and (bool(kept) or self._asks)
        self._last = role, field

    def whole(self) -> tuple[str, tuple[Message, ...]]:
        """The system prompt and all messages, or `BadRequest` where nothing is asked."""
        self._place_instructions(asked=self._last is None or self._last[0] == "assistant")
        if self._last is None:
            raise refused("messages", "must hold a message of the user")
        role, field = self._last
        if role != "user":
            raise refused(
                f"{field}.role",
                "the last message must be the user's; this bridge cannot continue a started answer",
            )
        self._calls.end()
        if not self._asks:
            raise refused(f"{field}.content", "must hold a text that is not blank, or a file")
        return joined(self._system), tuple(self._messages)

    @property
    def says_nothing(self) -> bool:
        """Whether there are no messages of the user's or the assistant's so far."""
        return not self._messages

    @property
    def within(self) -> tuple[str, ...]:
        """The texts of the system prompt that were said within the messages; its last ones."""
        return tuple(self._within)

    @property
    def _answer_is_last(self) -> bool:
        return self._messages[-1].role == "assistant"

    def _place_instructions(self, *, asked: bool) -> None:
        """Each to the system prompt, but the last of them to the messages where it is `asked`."""
        waiting, self._instructions = self._instructions, []
        last = waiting.pop() if asked and waiting else None
        for instruction in waiting:
            self._system += instruction.texts
            self._within += instruction.texts
        if last is not None:
            self._add("user", [{"type": "text", "text": t} for t in last.texts], last.field)
            self._last, self._asks = ("user", last.field), True

    def _add(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        self._messages.append(Message(role, self._calls.add(role, blocks, field)))


def said(texts: Iterable[str]) -> list[str]:
    """Blank texts say nothing."""
    return [text for text in texts if text.strip()]


def joined(texts: Iterable[str]) -> str:
    """The texts of a system prompt with an empty line between: no API says how its model sees the
    joint, and without one the last word of a text runs into the first of the next."""
    return "\n\n".join(said(texts))


class Results:
    """Results of tools that come in a message each, and are one of the user's to the model."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._gathered: list[Block] = []
        self._field = ""

    def add(self, result: Block, field: str) -> None:
        self._gathered.append(result)
        self._field = field

    def tell(self) -> None:
        """Those gathered so far."""
        if self._gathered:
            self._messages.say("user", self._gathered, self._field)
            self._gathered = []


class _Call(NamedTuple):
    """`given` is the client's id, `id` the one inside."""

    given: str
    id: str


class Calls:
    """Calls and their results, held together: the API behind the CLI refuses one without the other
    (https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use), and the CLI
    would mend the conversation unasked, by dropping the one or making up the other (2.1 also drops
    a call whose id any earlier one has). Takes the messages in order, and raises `BadRequest` where
    they break a rule; `field` is where a message stands in the request.

    Neighbouring messages of one role count as one message, as they do there. A result may come
    without its call only where the request shows no answer before it: then the history is kept
    here, and the call is in it. Nor is anything known of the calls behind an `item_reference`.

    Inside, every call has an id of its own in the Messages API's characters. Clients count their
    calls anew in each answer, or leave the ids out; other models write `functions.search:0`. A
    result belongs to the oldest call of its id that has none yet. The CLI takes `look` and `look_2`
    for one id, and loses the second one's result (measured with 2.1.332), so ids that differ by
    such an end are changed too.
    """

    def __init__(self, words: CallWords) -> None:
        self._words = words
        self._role: Role | None = None
        self._spoken = False
        self._ids: set[str] = set()
        self._numbers: dict[str, count[int]] = {}
        self._stems: set[str] = set()
        """Of all ids, what is left of each without the numbers at its end."""
        self._open: list[_Call] = []
        self._open_field = ""
        self._results: set[str] = set()
        self._said_more = False
        self._referred = False

    @property
    def waiting(self) -> bool:
        """Whether there are calls without a result."""
        return bool(self._open)

    def add(self, role: Role, blocks: Iterable[Block], field: str) -> tuple[Block, ...]:
        """The blocks with the ids they have inside."""
        if role != self._role:
            self._role, self._results, self._said_more = role, set(), False
            if role == "assistant":
                self.end()
        self._spoken = self._spoken or role == "assistant"
        return tuple(self._added(role, block, field) for block in blocks)

    def end(self) -> None:
        """Calls that are open now stay without a result."""
        if self._open:
            ids = ", ".join(few(shown(call.given) for call in self._open))
            raise refused(self._open_field, self._words.unanswered.format(ids))

    def _added(self, role: Role, block: Block, field: str) -> Block:
        match block["type"]:
            case "item_reference":
                self._referred = True
            case "tool_use":
                name = allowed(block["name"])[:LONGEST_NAME]
                return {**block, "id": self._call(block["id"], field), "name": name}
            case "tool_result":
                return {**block, "tool_use_id": self._result(block["tool_use_id"], field)}
            case _ if role == "user":
                self.end()
                self._said_more = True
        return block

    def _call(self, given: str, field: str) -> str:
        wanted = allowed(given) or "call"
        # Goes on where it was for the one before: clients may call all of them by one id.
        numbers = self._numbers.setdefault(wanted, count(2))
        id_ = wanted
        while id_ in self._stems or not self._ids.isdisjoint(_stems(id_)):
            id_ = f"{wanted}-{next(numbers)}"
        self._ids.add(id_)
        self._stems |= _stems(id_)
        self._open.append(_Call(given, id_))
        self._open_field = field
        return id_

    def _result(self, given: str, field: str) -> str:
        if self._said_more:
            raise refused(field, "results of calls must come before all else the user says")
        for call in self._open:
            if call.given == given:
                self._open.remove(call)
                self._results.add(given)
                return call.id
        if given in self._results:
            raise refused(field, f"a call must have one result, and {shown(given)} has more")
        if self._spoken and not self._referred:
            raise refused(field, self._words.uncalled.format(shown(given)))
        self._results.add(given)
        return allowed(given) or "call"


def _stems(id_: str) -> set[str]:
    """The id, and what is left of it as one number after the other is taken from its end."""
    found = {id_}
    while (shorter := _NUMBER.sub("", id_)) != id_:
        id_ = shorter
        found.add(id_)
    return found
