"""The conversation of one request, as the rules of all APIs leave it.

Promises: message boundaries stay where the client set them; a message without blocks is left out,
because the API behind the CLI refuses it; calls and their results belong together (see `calls`);
the last word is the user's and says something.

Instructions within the messages are added to the system prompt, the one place the CLI has for them,
unless an answer follows where the user has said nothing since the one before, or is wanted there:
the last instruction is what the model answers, so it stands in the user's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sessionbridge.apis.common.body import refused
from sessionbridge.apis.common.calls import Calls, CallWords
from sessionbridge.model import Block, Message, Role


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
        self._system += [text for text in texts if text.strip()]

    def instruct_within(self, texts: Iterable[str], field: str) -> None:
        """Adds a message that instructs. `field` is where it stands in the request."""
        if said := [text for text in texts if text.strip()]:
            self._instructions.append(_Instruction(said, field))

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
        """The system prompt and all messages, or `BadRequest` where nothing is asked.

        Between the texts of the prompt is an empty line: neither API says how its model sees the
        joint, and without one the last word of a text runs into the first of the next."""
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
        return "\n\n".join(self._system), tuple(self._messages)

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


def is_blank(block: Block) -> bool:
    """Blank text is refused by the API behind the CLI, wherever it stands in the history
    ("text content blocks must contain non-whitespace text")."""
    return block["type"] == "text" and not block["text"].strip()
