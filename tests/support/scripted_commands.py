"""The commands in a prompt for the scripted API, and the answer that obeys them.

What they do is told in `tests.support.scripted_api`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessionbridge.cli.demo.scripted_api import Body, Reply, messages, text_of, usage_of
from sessionbridge.cli.demo.scripted_events import Block, Pieces

_START = re.compile(r"\[(fail|break|hang|gate|call|think|structured|max_tokens|answer)(?=[ \]])")
_NAME = re.compile(r" ([^\s\]]+)")
_JSON = json.JSONDecoder()
_TO_QUOTE = 300
_STRUCTURED = "StructuredOutput"


@dataclass(frozen=True, slots=True)
class Command:
    """`words` is what follows the name; for a call, the tool's name. `value` is its JSON."""

    name: str
    words: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked: the commands, the text before the first of them, and what tools
    returned, as it is quoted."""

    before: str
    commands: Sequence[Command]
    results: Sequence[str]

    def get(self, *names: str) -> Command | None:
        return next((command for command in self.commands if command.name in names), None)


def prompt(body: Body) -> Prompt:
    """Of several results only the last is obeyed."""
    _, blocks = messages(body)[-1]
    results = [block for block in blocks if block["type"] == "tool_result"]
    own = [block for block in blocks if block["type"] != "tool_result"]
    text = text_of([*results[-1:], *own])
    first = _START.search(text)
    before = text_of(own) if first is None else text[: first.start()]
    unknown = () if _STRUCTURED in _offered(body) else ("structured",)
    commands = [command for command in _commands(text) if command.name not in unknown]
    given = [place for place, command in enumerate(commands) if command.name == "answer"]
    if given:  # what comes before it was obeyed, and so was it where more was asked since
        commands = commands[given[-1] + 1 :] or commands[given[-1] :]
    return Prompt(before.strip(), commands, [_quoted(result) for result in results])


def obeyed(body: Body, asked: Prompt, says: Pieces | str, new_id: Callable[[], str]) -> Reply:
    """An answer that says something, and thinks, calls and stops as it is told."""
    if whole := asked.get("answer"):
        return _given(body, whole.value, new_id)
    calls = [_called(body, command, new_id) for command in asked.commands]
    content: list[Block] = [*_thoughts(body, asked), {"type": "text", "text": says}]
    content += [block for block in calls if block is not None]
    kept = tuple(block for block in content if block.get("text") != "")
    stop_reason = "max_tokens" if asked.get("max_tokens") else ""
    return Reply((), usage_of(body, 2 + 5 * len(kept)), stop_reason, kept)


def _commands(text: str) -> Iterator[Command]:
    place = 0
    while found := _START.search(text, place):
        name, place = found[1], found.end()
        words = ""
        value: Any = None
        if name == "call" and (tool := _NAME.match(text, place)):
            words, place = tool[1], tool.end()
        if name in ("call", "structured", "answer"):
            value = {}
            if text[place] == " ":
                value, place = _JSON.raw_decode(text, place + 1)
        else:
            words = text[place : text.index("]", place)].strip()
        place = text.index("]", place)
        yield Command(name, words, value)


def _given(body: Body, answer: Mapping[str, Any], new_id: Callable[[], str]) -> Reply:
    content = tuple(
        {"id": new_id(), **block} if block["type"] == "tool_use" else block
        for block in answer["content"]
    )
    told = {name: answer[name] for name in ("told", "told_last", "stop_details") if name in answer}
    stop_reason = answer.get("stop_reason", "")
    return Reply((), usage_of(body, 2 + 5 * len(content)), stop_reason, content, **told)


def _called(body: Body, command: Command, new_id: Callable[[], str]) -> Block | None:
    name = {"call": command.words, "structured": _STRUCTURED}.get(command.name)
    if name is None:
        return None
    if name not in _offered(body):
        return {"type": "text", "text": f"I have no tool {name}."}
    return {"type": "tool_use", "id": new_id(), "name": name, "input": command.value}


def _offered(body: Body) -> list[str]:
    return [tool["name"] for tool in body.get("tools", ())]


def _thoughts(body: Body, asked: Prompt) -> Iterator[Block]:
    thinking = body.get("thinking", {})
    if thinking.get("type") not in ("enabled", "adaptive"):
        return
    for command in asked.commands:
        if command.name == "think":
            signature = base64.b64encode(command.words.encode()).decode()
            shown = "" if thinking.get("display") == "omitted" else command.words
            yield {"type": "thinking", "thinking": shown, "signature": signature}


def _quoted(result: Block) -> str:
    """So that a test sees from the answer what reached the model."""
    content = result.get("content", "")
    text = text_of(content)
    if len(text) > _TO_QUOTE:
        text = f"{text[:_TO_QUOTE]}… of {len(text)} characters"
    kinds = [] if isinstance(content, str) else [block["type"] for block in content]
    others = "".join(f" + {kind}" for kind in kinds if kind != "text")
    return f"{'failed: ' if result.get('is_error') else ''}{text or 'nothing'}{others}"
