"""What the deltas of one answer add up to. Whoever needs an answer whole has it from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from sessionbridge.model import (
    Block,
    Delta,
    Finished,
    RedactedThinking,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    WholeBlock,
)

_GROWS = {"text": ("text",), "thinking": ("thinking", "signature"), "tool_use": ("input",)}
"""The fields of each kind of block that grow, its words first. Pieces of any other are none of the
block's, whoever sent them."""


class Call(NamedTuple):
    """A call of a tool; `written` is the text the model wrote as its input, which may be empty."""

    block: int
    id: str
    name: str
    written: str


@dataclass(slots=True)
class _Growing:
    """A block as it began, and the pieces that were added to its fields."""

    start: Mapping[str, Any] = field(default_factory=dict)
    pieces: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        began = self.start.get(name)
        return (began if isinstance(began, str) else "") + "".join(self.pieces.get(name, ()))


class Answer:
    """The fold of one answer. Nothing is known of it but what was heard so far: one that was cut
    off is what came of it."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self._blocks: dict[int, _Growing] = {}

    def hear(self, delta: Delta | WholeBlock) -> None:
        """An empty piece begins no block: the API refuses one that a client sends back."""
        match delta:
            case TextDelta(index, piece):
                self._add(index, {"type": "text"}, "text", piece)
            case ThinkingDelta(index, piece):
                self._add(index, {"type": "thinking"}, "thinking", piece)
            case ThinkingSignature(index, piece):
                self._add(index, {"type": "thinking", "thinking": ""}, "signature", piece)
            case ToolInput(index, piece):
                self._add(index, {}, "input", piece)
            case ToolCall(index, id_, name):
                call = {"type": "tool_use", "id": id_, "name": name}
                self._blocks.setdefault(index, _Growing()).start = call
            case RedactedThinking(index, data):
                self._blocks[index] = _Growing({"type": "redacted_thinking", "data": data})
            case WholeBlock(index, block):
                self._blocks[index] = _Growing(block)
            case Started():
                self.started = delta
            case Finished():
                pass  # it holds nothing of the blocks

    def forget(self, index: int) -> None:
        """A block that is told to be none after all."""
        self._blocks.pop(index, None)

    def _add(self, index: int, start: Mapping[str, Any], name: str, piece: str) -> None:
        if piece:
            growing = self._blocks.setdefault(index, _Growing(start))
            growing.pieces.setdefault(name, []).append(piece)

    @property
    def text(self) -> str:
        """All that was said, without what was thought and called."""
        return "".join(block.text("text") for _, block in self._of("text"))

    @property
    def thoughts(self) -> str:
        return "".join(block.text("thinking") for _, block in self._of("thinking"))

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(_call(index, block) for index, block in self._of("tool_use"))

    def written(self, index: int) -> str:
        """The words of one block: said, thought, or the input of a call."""
        block = self._blocks.get(index, _Growing())
        words, *_ = _GROWS.get(block.start.get("type", ""), ("",))
        return block.text(words)

    def blocks(self, read_input: Callable[[Call], Any]) -> dict[int, Block]:
        """All blocks by their indexes, in order. What a call's input is, each API says its own
        way."""
        return {
            index: _whole(index, block, read_input)
            for index, block in sorted(self._blocks.items())
            if "type" in block.start  # pieces of a call that nobody has begun are none
        }

    def _of(self, kind: str) -> Iterator[tuple[int, _Growing]]:
        return (it for it in sorted(self._blocks.items()) if it[1].start.get("type") == kind)


def _call(index: int, block: _Growing) -> Call:
    return Call(index, block.start["id"], block.start["name"], block.text("input"))


def _whole(index: int, block: _Growing, read_input: Callable[[Call], Any]) -> Block:
    grows = _GROWS.get(block.start["type"], ())
    grown: dict[str, Any] = {name: block.text(name) for name in block.pieces if name in grows}
    if block.start["type"] == "tool_use" and ("input" in grown or "input" not in block.start):
        grown["input"] = read_input(_call(index, block))
    return cast("Block", {**block.start, **grown})
