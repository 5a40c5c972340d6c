"""What an origin rule may look at in a request: headers, body fields and two texts.

The body is whatever JSON a client sent. Nothing here raises for an odd type; what cannot be read
is absent. The texts are joined only when a rule asks for them, and only the head of the
conversation is walked, so a long history costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

SYSTEM_ROLES = ("system", "developer")

# What a program prints for a variable it has not set. Such a value would be shared by all of its
# conversations, so it is no id.
UNSET = frozenset({"null", "undefined", "None"})

# What stands in an address where the name was left out, or other programs resolve before it
# arrives. In lower case.
NO_PATH_NAMES = frozenset({".", "..", "v1"})


class OriginRequest:
    """Headers with lower-cased names, and the parsed body where it is known."""

    def __init__(self, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> None:
        self.headers = headers
        self.body: Mapping[str, Any] = body if isinstance(body, Mapping) else {}

    def header(self, name: str) -> str | None:
        return text_of(self.headers.get(name))

    def field(self, path: str) -> str | None:
        value: Any = self.body
        for key in path.split("."):
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return text_of(value)

    @cached_property
    def system(self) -> str:
        """The system prompt: Messages `system`, Responses `instructions`, leading items."""
        texts = [_content_text(self.body.get("system"))]
        texts.append(_content_text(self.body.get("instructions")))
        texts += [text for role, text in self._head if role in SYSTEM_ROLES]
        return "\n".join(text for text in texts if text)

    @cached_property
    def first_user(self) -> str:
        """The first user message; a Responses `input` may be that message itself."""
        for role, text in self._head:
            if role == "user":
                return text
        given = self.body.get("input")
        return given if isinstance(given, str) else ""

    @cached_property
    def _head(self) -> list[tuple[str, str]]:
        head = []
        for role, content in self._items():
            if role == "user" or role in SYSTEM_ROLES:
                head.append((role, _content_text(content)))
            if role == "user":
                break
        return head

    def _items(self) -> Iterator[tuple[str, Any]]:
        for name in ("messages", "input"):
            items = self.body.get(name)
            for item in items if isinstance(items, list) else ():
                role = item.get("role") if isinstance(item, Mapping) else None
                if isinstance(role, str):
                    yield role, item.get("content")


def text_of(value: Any) -> str | None:
    """What may be an id, without the blanks around it; None for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text or text in UNSET or (text.startswith("{{") and text.endswith("}}")):
        return None
    return text


def _content_text(content: Any) -> str:
    """The text of a message's content: a string, or blocks of any API's kind of text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (block.get("text") for block in content if isinstance(block, Mapping))
    return "\n".join(text for text in blocks if isinstance(text, str))
