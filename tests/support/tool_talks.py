"""Talks with tools, as programs hold them that use the official clients of two APIs.

Each keeps its conversation twice: as its API wants it back, and as the model has to see it.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion

from tests.support.clients import Clients

Block = Mapping[str, Any]
Told = list[tuple[str, list[Block]]]


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """`content` is text, or blocks of the Messages API where the client's API has them."""

    content: str | Sequence[Block]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    name: str
    input: Any


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    calls: tuple[Call, ...]
    stop: str


def tool(name: str, **properties: str) -> Tool:
    given = {key: {"type": kind, "description": f"Its {key}."} for key, kind in properties.items()}
    schema = {"type": "object", "properties": given, "required": [*properties]}
    return Tool(name, f"What {name} does is told here, é𝄞.", schema)


LOOK = tool("look", at="string")
ADD = tool("add", a="number", b="number")


class Talk(ABC):
    """`told` is all that was said, `name` the conversation's id, which its first prompt holds in
    round brackets. What fails has not been said."""

    stream = False
    stops: tuple[str, str]
    """What an answer ends for that calls tools, and one that does not."""

    def __init__(self, proxy: Clients, name: str, *tools: Tool, **fields: Any) -> None:
        self.name = name
        self.marker = f"({name})"
        self.headers = {"X-OpenClaw-Session": name}
        self.tools = tools or (LOOK, ADD)
        self.fields = fields
        self.told: Told = []
        self.last = Answer("", (), "")
        self._proxy = proxy
        self._items: list[Any] = []

    @property
    def asked(self) -> Told:
        """What the model had been told when it answered last."""
        return self.told[:-1]

    def moved(self, proxy: Clients) -> None:
        """Goes on through another proxy."""
        self._proxy = proxy

    def branch(self) -> Talk:
        other = copy.copy(self)
        other.told, other._items = [*self.told], [*self._items]
        return other

    def retold(self, kind: Client, told: Told) -> Talk:
        """What was `told` of it, as a client of this kind holds it who goes on from there."""
        other = kind(self._proxy, self.name, *self.tools, **self.fields)
        for role, blocks in told:
            texts = [block["text"] for block in blocks if block["type"] == "text"]
            if role == "assistant":
                calls = [Call(b["id"], b["name"], b["input"]) for b in blocks if "input" in b]
                other.last = Answer("".join(texts), tuple(calls), "")
                other._items += other._answered(other.last)
                continue
            for text in texts:
                other._items += other._spoken(text)
            for b in blocks:
                if b["type"] == "tool_result":
                    call = Call(b["tool_use_id"], "", {})
                    other._items += other._returned(call, Result(b["content"], b["is_error"]))
        other.told = [*told]
        return other

    def begin(self, text: str) -> Answer:
        return self.say(f"{self.marker} {text}")

    def say(self, text: str) -> Answer:
        return self._turn([{"type": "text", "text": text}], self._spoken(text))

    def give(self, *results: str | Result, backwards: bool = False, some: bool = False) -> Answer:
        """Results in the order of the calls; `some` leaves the others without one."""
        given = [Result(one) if isinstance(one, str) else one for one in results]
        pairs = list(zip(self.last.calls, given, strict=not some))
        if backwards:
            pairs.reverse()
        blocks = [_result(call, result) for call, result in pairs]
        return self._turn(blocks, [item for pair in pairs for item in self._returned(*pair)])

    def _turn(self, blocks: list[Block], items: list[Any]) -> Answer:
        answer, own = self._request(items)
        self._items += [*items, *own]
        said: list[Block] = [{"type": "text", "text": answer.text}] if answer.text else []
        said += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
            for call in answer.calls
        ]
        self.told += [("user", blocks), ("assistant", said)]
        self.last = answer
        return answer

    @abstractmethod
    def _spoken(self, text: str) -> list[Any]: ...

    @abstractmethod
    def _returned(self, call: Call, result: Result) -> list[Any]: ...

    @abstractmethod
    def _answered(self, answer: Answer) -> list[Any]:
        """An answer that was given to another client."""

    @abstractmethod
    def _request(self, new: list[Any]) -> tuple[Answer, list[Any]]:
        """The answer, and as what the API wants it back."""


def _result(call: Call, result: Result) -> Block:
    return {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": result.content,
        "is_error": result.is_error,
    }


class Messages(Talk):
    stops = ("tool_use", "end_turn")

    def _spoken(self, text: str) -> list[Any]:
        return [{"role": "user", "content": text}]

    def _returned(self, call: Call, result: Result) -> list[Any]:
        # Each in a message of its own, which the API takes for one, unless they are put together.
        return [{"role": "user", "content": [_result(call, result)]}]

    def _answered(self, answer: Answer) -> list[Any]:
        said: list[Any] = [{"type": "text", "text": answer.text}] if answer.text else []
        for call in answer.calls:
            said.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input})
        return [{"role": "assistant", "content": said}]

    def _request(self, new: list[Any]) -> tuple[Answer, list[Any]]:
        client = self._proxy.anthropic(self.headers)
        joined = [block for item in new for block in item["content"]]
        if new[0]["content"].__class__ is list:
            new[:] = [{"role": "user", "content": joined}]
        request: Any = {
            "model": "sonnet",
            "max_tokens": 4_000,
            "messages": [*self._items, *new],
            "tools": [
                {"name": t.name, "description": t.description, "input_schema": t.schema}
                for t in self.tools
            ],
            **self.fields,
        }
        if self.stream:
            with client.messages.stream(**request) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**request)
        text = "".join(block.text for block in message.content if block.type == "text")
        calls = [Call(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
        answer = Answer(text, tuple(calls), message.stop_reason or "")
        return answer, [{"role": "assistant", "content": message.content}]


class MessagesStream(Messages):
    stream = True


class Chat(Talk):
    stops = ("tool_calls", "stop")

    def _spoken(self, text: str) -> list[Any]:
        return [{"role": "user", "content": text}]

    def _returned(self, call: Call, result: Result) -> list[Any]:
        return [{"role": "tool", "tool_call_id": call.id, "content": result.content}]

    def _answered(self, answer: Answer) -> list[Any]:
        calls = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": json.dumps(call.input)},
            }
            for call in answer.calls
        ]
        made = {"tool_calls": calls} if calls else {}
        return [{"role": "assistant", "content": answer.text or None, **made}]

    def _request(self, new: list[Any]) -> tuple[Answer, list[Any]]:
        client = self._proxy.openai(self.headers)
        request: Any = {
            "model": "gpt-4o",
            "messages": [*self._items, *new],
            "tools": [{"type": "function", "function": function_of(t)} for t in self.tools],
            **self.fields,
        }
        completion: ChatCompletion
        if self.stream:
            state = ChatCompletionStreamState()
            for chunk in client.chat.completions.create(stream=True, **request):
                state.handle_chunk(chunk)
            completion = state.get_final_completion()
        else:
            completion = client.chat.completions.create(**request)
        (choice,) = completion.choices
        calls = tuple(
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or []
            if call.type == "function"
        )
        answer = Answer(choice.message.content or "", calls, choice.finish_reason)
        own = choice.message.to_dict()
        own.pop("parsed", None)
        return answer, [own]


class ChatStream(Chat):
    stream = True


def function_of(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.schema}


Client = Callable[..., Talk]
MESSAGES: list[Client] = [Messages, MessagesStream]
CHAT: list[Client] = [Chat, ChatStream]


def plain(told: Iterable[tuple[str, Sequence[Block]]]) -> list[tuple[str, list[Any]]]:
    """Comparable: neighbours of one role together, an assistant's text in one piece, results by the
    ids of their calls, because the CLI gives them in an order of its own; all else as it is."""
    runs: list[tuple[str, list[Any]]] = []
    for role, blocks in told:
        if not runs or runs[-1][0] != role:
            runs.append((role, []))
        runs[-1][1].extend(_plain(block) for block in blocks)
    return [
        (role, sorted(blocks, key=_place) if role == "user" else _joined(blocks))
        for role, blocks in runs
    ]


def _joined(blocks: list[Any]) -> list[Any]:
    text = "".join(block[1] for block in blocks if block[0] == "text")
    others = [block for block in blocks if block[0] != "text"]
    return [("text", text), *others] if text else others


def _place(block: tuple[Any, ...]) -> tuple[bool, str]:
    return (False, block[1]) if block[0] == "result" else (True, "")


def _plain(block: Block) -> tuple[Any, ...]:
    match block["type"]:
        case "text":
            return "text", block["text"].strip()
        case "image":
            return "image", block["source"]["media_type"], block["source"]["data"]
        case "tool_use":
            return "call", block["id"], block["name"], block["input"]
        case "tool_result":
            content = block.get("content") or []
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            parts = [_plain(part) for part in content]
            return "result", block["tool_use_id"], parts, bool(block.get("is_error"))
    raise AssertionError(block)
