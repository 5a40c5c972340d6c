"""The conversation of one request, as the rules of all APIs leave it.

Promises: message boundaries stay where the client set them; a message without blocks is left out,
because the API behind the CLI refuses it; calls and their results belong together (see `calls`);
the last word is the user's and says something.
"""

from __future__ import annotations

from collections.abc import Iterable

from sessionbridge.apis.body import refused
from sessionbridge.apis.calls import Calls, CallWords
from sessionbridge.turn import Block, Message, Role


class Conversation:
    """Takes the messages of a request in order, then tells whether they ask anything."""

    def __init__(self, words: CallWords) -> None:
        self._calls = Calls(words)
        self._system: list[str] = []
        self._messages: list[Message] = []
        self._last: tuple[Role, str] | None = None
        self._asks = False

    def instruct(self, texts: Iterable[str]) -> None:
        """Adds to the system prompt. Blank texts say nothing and are left out."""
        self._system += [text for text in texts if text.strip()]

    def say(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        """Adds a message. `field` is where it stands in the request."""
        kept = tuple(block for block in blocks if not is_blank(block))
        if kept:
            self._calls.add(role, kept, field)
            self._messages.append(Message(role, kept))
        self._asks = role == "user" and (bool(kept) or self._asks)
        self._last = role, field

    @property
    def system(self) -> str:
        """The texts with an empty line between them: neither API says how its model sees the
        joint, and without one the last word of a text runs into the first of the next."""
        return "\n\n".join(self._system)

    def messages(self) -> tuple[Message, ...]:
        """All messages, or `BadRequest` where nothing is asked."""
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
        return tuple(self._messages)


def is_blank(block: Block) -> bool:
    """Blank text is refused by the API behind the CLI, wherever it stands in the history
    ("text content blocks must contain non-whitespace text")."""
    return block["type"] == "text" and not block["text"].strip()
