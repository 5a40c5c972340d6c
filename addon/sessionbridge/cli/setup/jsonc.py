"""Sets values in the text of a JSON file that may hold comments, and leaves every other byte as it
is. Pure.

It reads what such files hold in practice (VS Code's JSONC): JSON, `//` and `/* */`, and a comma
behind the last member; and, where it is told so, JSON5 (https://spec.json5.org) with its names
without quotes, single quotes and numbers. The libraries there are for Python rewrite the whole
text, or start Node.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<mark>[{}\[\]:,])
    |(?P<word>[-+.$\w]+)""",
    re.S | re.X,
)
_JSON5_NAME = re.compile(r"[^\W\d][$\w]*|\$[$\w]*")
_JSON5_VALUE = re.compile(
    r"""["'].*|true|false|null
    |[-+]?(?:Infinity|NaN|0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)""",
    re.S | re.X,
)
_COMMENTS = re.compile(r"((?:[ \t]*(?://[^\r\n]*|/\*[^\r\n]*?\*/))*)[ \t]*\r?$", re.M)
_STEP = "  "


@dataclass(slots=True)
class _Value:
    """Where a value stands. `members` are those of an object, by name: of two of one name the last,
    as everywhere. `first` is where they begin, `last` where they end, `comma` where the comma
    behind the last one ends, if there is one."""

    start: int
    end: int = 0
    members: dict[str, _Value] | None = None
    first: int = 0
    last: int = 0
    comma: int = 0


@dataclass(slots=True)
class _Reader:
    text: str
    json5: bool
    tokens: list[tuple[str, str, int, int]] = field(default_factory=list)
    at: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(_tokens(self.text))

    def whole(self) -> _Value:
        value = self.value()
        if self.at != len(self.tokens):
            raise _wrong(self.text, self.tokens[self.at][2])
        return value

    def value(self) -> _Value:
        kind, word, start, end = self.take()
        if word == "{" and kind == "mark":
            return self.object(start)
        if word == "[" and kind == "mark":
            return self.array(start)
        if kind == "mark":
            raise _wrong(self.text, start)
        self.literal(word, start)
        return _Value(start, end)

    def object(self, start: int) -> _Value:
        found = _Value(start, members={})
        assert found.members is not None
        while True:
            kind, word, at, end = self.take()
            if word == "}" and kind == "mark":
                found.end = end
                return found
            name, found.first = self.name(kind, word, at), found.first or at
            self.expect(":")
            found.members[name] = value = self.value()
            found.last, found.comma = value.end, self.separated("}")

    def array(self, start: int) -> _Value:
        while True:
            if self.peek() == "]":
                return _Value(start, self.take()[3])
            self.value()
            self.separated("]")

    def name(self, kind: str, word: str, at: int) -> str:
        if self.json5 and kind == "word" and _JSON5_NAME.fullmatch(word):
            return word
        if self.json5 and word.startswith("'"):
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if kind != "string":
            raise _wrong(self.text, at)
        return str(self.literal(word, at))

    def literal(self, word: str, at: int) -> Any:
        """What it means, or in JSON5, where its values are of no interest, the word itself."""
        try:
            return json.loads(word, strict=False)
        except ValueError as error:
            if self.json5 and _JSON5_VALUE.fullmatch(word):
                return word
            raise _wrong(self.text, at) from error

    def separated(self, closing: str) -> int:
        """Where a comma ends; 0 where the closing mark is next."""
        if self.peek() == ",":
            return self.take()[3]
        if self.peek() != closing:
            raise _wrong(self.text, self.take()[2])
        return 0

    def expect(self, mark: str) -> None:
        _, word, at, _ = self.take()
        if word != mark:
            raise _wrong(self.text, at)

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self) -> tuple[str, str, int, int]:
        if self.at == len(self.tokens):
            raise ValueError("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]


class NoObject(ValueError):
    """Something that is no object is in the way of a path."""


def with_value(text: str, path: Sequence[str], value: Any, *, json5: bool = False) -> str:
    """The text with this value at the path of names. Raises `ValueError`, which names the line, for
    what cannot be read, and `NoObject`."""
    if not text.strip():
        text = "{}\n"
    here = _Reader(text, json5).whole()
    for depth, name in enumerate(path):
        if here.members is None:
            raise NoObject(f"{'.'.join(path[:depth]) or 'the whole'} is no object")
        if name not in here.members:
            return _inserted(text, here, name, _nested(path[depth + 1 :], value))
        here = here.members[name]
    margin = _margin(text, here.start)
    return text[: here.start] + _written(value, margin) + text[here.end :]


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _inserted(text: str, parent: _Value, name: str, value: Any) -> str:
    """As the last member, on a line of its own unless all of the object is on one."""
    assert parent.members is not None
    outer = _margin(text, parent.start)
    if not parent.members:
        margin = outer + _STEP
        member = f"\n{margin}{json.dumps(name)}: {_written(value, margin)}"
        after = text[parent.start + 1 : parent.end - 1].rstrip()
        return f"{text[: parent.start + 1]}{after}{member}\n{outer}{text[parent.end - 1 :]}"
    lines = "\n" in text[parent.start : parent.first]
    margin = _margin(text, parent.first) if lines else outer
    break_ = f"\n{margin}" if lines else " "
    member = f"{break_}{json.dumps(name)}: {_written(value, margin)}"
    end = parent.comma or parent.last
    place = _behind_comments(text, end) if lines else end
    before, after = ("", ",") if parent.comma else (",", "")
    return f"{text[:end]}{before}{text[end:place]}{member}{after}{text[place:]}"


def _behind_comments(text: str, place: int) -> int:
    """A comment behind a member, in its line, is about that member."""
    match = _COMMENTS.match(text, place)
    return match.end(1) if match else place


def _written(value: Any, margin: str) -> str:
    return json.dumps(value, indent=len(_STEP), ensure_ascii=False).replace("\n", f"\n{margin}")


def _margin(text: str, place: int) -> str:
    """The blanks that the line of this place begins with."""
    line = text[text.rfind("\n", 0, place) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _tokens(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Kind, text, start and end of all but blanks and comments."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(text, at)
        at = match.end()
        if match.lastgroup != "blank":
            yield match.lastgroup or "", match[0], match.start(), at


def _wrong(text: str, at: int) -> ValueError:
    return ValueError(f"line {text.count(chr(10), 0, at) + 1} is no JSON with comments")
