"""Clients of all three APIs that are told any answer, and send back all of it that they were told.

They use the official packages, and keep what they were told as these give it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anthropic
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion
from openai.types.responses import Response, ResponseCompletedEvent, ResponseIncompleteEvent

from tests.support.answer_table import AT_ANTHROPIC, THOUGHTS, TOLD, Block, Row, text
from tests.support.proxy import Proxy
from tests.support.tool_talks import ADD, LOOK, function_of

TOOLS = (LOOK, ADD)
PROMPT_TOKENS = sum(TOLD[f"{kind}input_tokens"] for kind in ("", "cache_creation_", "cache_read_"))
CHAT_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
RESPONSES_ENDS = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}


class Client(ABC):
    """Of one conversation, about the answers of one row. Of its last answer, `told` is what it was
    told, `calls` are the ids of the calls, and `said` what the model has to see when it comes
    back."""

    unseen: Sequence[str] = THOUGHTS
    """Blocks that the model may have of its own, and this client cannot send."""

    def __init__(self, name: str, row: Row) -> None:
        self.headers = {"User-Agent": "opencode/1.18.33", "x-session-id": name}
        self.row = row
        self.calls: Sequence[str] = ()
        self.said: list[Block] = []
        self.told: dict[str, Any] = {}
        self._items: list[Any] = []

    @abstractmethod
    def connect(self, proxy: Proxy) -> None:
        """Before the first request, and when the proxy is another."""

    def ask(self, words: str, *, stream: bool) -> None:
        self._turn([{"role": "user", "content": words}], stream)

    def give(self, results: Mapping[str, str], *, stream: bool) -> None:
        self._turn([*self._results(results)], stream)

    @abstractmethod
    def expected(self, turn: int) -> dict[str, Any]:
        """What the row's answer has to be told as."""

    @abstractmethod
    def _results(self, results: Mapping[str, str]) -> Iterator[Any]:
        """By the ids of the calls, as the API has them."""

    @abstractmethod
    def _turn(self, new: list[Any], stream: bool) -> None: ...


class Messages(Client):
    unseen = ()

    def connect(self, proxy: Proxy) -> None:
        self._client = proxy.anthropic(self.headers)

    def _results(self, results: Mapping[str, str]) -> Iterator[Any]:
        blocks = [
            {"type": "tool_result", "tool_use_id": id_, "content": words}
            for id_, words in results.items()
        ]
        yield {"role": "user", "content": blocks}

    def _turn(self, new: list[Any], stream: bool) -> None:
        self._items += new
        message = self._message(stream)
        if message.content:
            self._items.append({"role": "assistant", "content": message.content})
        content = [block.to_dict() for block in message.content]
        self.calls = [block.id for block in message.content if block.type == "tool_use"]
        self.told = {
            "content": content,
            "stop_reason": message.stop_reason,
            "stop_sequence": message.stop_sequence,
            "stop_details": message.stop_details and message.stop_details.to_dict(),
            "usage": message.usage.to_dict(),
        }
        # Thoughts alone say nothing, and are left out of a history.
        speaks = any(block["type"] not in THOUGHTS for block in content)
        self.said = content if speaks else []

    def _message(self, stream: bool) -> anthropic.types.Message:
        request: Any = {
            "model": "sonnet",
            "max_tokens": 4_000,
            "messages": self._items,
            "tools": [
                {"name": t.name, "description": t.description, "input_schema": t.schema}
                for t in TOOLS
            ],
        }
        if self.row.thinks:
            request["thinking"] = {"type": "enabled", "budget_tokens": 1_024}
        if self.row.sequence:
            request["stop_sequences"] = [self.row.sequence]
        if not stream:
            message: anthropic.types.Message = self._client.messages.create(**request)
            return message
        with self._client.messages.stream(**request) as events:
            return events.get_final_message()

    def expected(self, turn: int) -> dict[str, Any]:
        return {
            "content": [*self.row.told_in(turn)],
            "stop_reason": self.row.status,
            "stop_sequence": self.row.sequence,
            "stop_details": self.row.stop_details,
            "usage": TOLD,
        }


class OpenAi(Client):
    def connect(self, proxy: Proxy) -> None:
        self._client = proxy.openai(self.headers)


class Chat(OpenAi):
    def _results(self, results: Mapping[str, str]) -> Iterator[Any]:
        for id_, words in results.items():
            yield {"role": "tool", "tool_call_id": id_, "content": words}

    def _turn(self, new: list[Any], stream: bool) -> None:
        self._items += new
        completion = self._completion(stream)
        (choice,) = completion.choices
        message: dict[str, Any] = choice.message.to_dict()
        calls = message.get("tool_calls") or []
        for call in calls:  # of the fold of a stream
            call.pop("index", None)
        if any(message.get(name) for name in ("content", "refusal", "tool_calls")):
            self._items.append(message)
        self.calls = [call["id"] for call in calls]
        self.told = {
            "content": message.get("content") or "",
            "refusal": message.get("refusal"),
            "thoughts": message.get("reasoning_content", ""),
            "calls": [_made(call["id"], **call["function"]) for call in calls],
            "finish_reason": choice.finish_reason,
            "usage": completion.usage and completion.usage.to_dict(),
        }
        said = (self.told["content"], self.told["refusal"])
        self.said = [text(words) for words in said if words]
        self.said += [_read(*made) for made in self.told["calls"]]

    def _completion(self, stream: bool) -> ChatCompletion:
        request: Any = {
            "model": "gpt-4o",
            "messages": self._items,
            "tools": [{"type": "function", "function": function_of(t)} for t in TOOLS],
        }
        if self.row.thinks:
            request["reasoning_effort"] = "low"
        if self.row.sequence:
            request["stop"] = [self.row.sequence]
        create = self._client.chat.completions.create
        if not stream:
            completion: ChatCompletion = create(**request)
            return completion
        # Not its helper for streams, which raises where an answer is cut or filtered.
        state = ChatCompletionStreamState()
        for chunk in create(stream=True, stream_options={"include_usage": True}, **request):
            state.handle_chunk(chunk)
        return state.current_completion_snapshot

    def expected(self, turn: int) -> dict[str, Any]:
        row = self.row
        return {
            "content": _words(row, turn),
            "refusal": row.stop_details and row.stop_details["explanation"],
            "thoughts": "".join(b["thinking"] for b in row.content if b["type"] == "thinking"),
            "calls": _calls(row, turn),
            "finish_reason": CHAT_ENDS[row.stop_reason],
            "usage": {
                "prompt_tokens": PROMPT_TOKENS,
                "completion_tokens": TOLD["output_tokens"],
                "total_tokens": PROMPT_TOKENS + TOLD["output_tokens"],
                "prompt_tokens_details": {"cached_tokens": TOLD["cache_read_input_tokens"]},
                "completion_tokens_details": {
                    "reasoning_tokens": TOLD["output_tokens_details"]["thinking_tokens"]
                },
            },
        }


class Responses(OpenAi):
    """Sends all items each time, those that are `unsaid` for nothing."""

    unsaid: Sequence[str] = ("reasoning",)

    def _results(self, results: Mapping[str, str]) -> Iterator[Any]:
        for id_, words in results.items():
            yield {"type": "function_call_output", "call_id": id_, "output": words}

    def _turn(self, new: list[Any], stream: bool) -> None:
        self._items += new
        response = self._response(stream, input=self._items)
        self._items += [item.to_dict(exclude_unset=True) for item in response.output]

    def _response(self, stream: bool, **fields: Any) -> Response:
        request: Any = {
            "model": "gpt-5",
            "tools": [{"type": "function", "strict": False, **function_of(t)} for t in TOOLS],
            **fields,
        }
        if self.row.thinks:
            request["reasoning"] = {"effort": "low", "summary": "auto"}
        create = self._client.responses.create
        if stream:
            *_, closing = create(stream=True, **request)
            assert isinstance(closing, ResponseCompletedEvent | ResponseIncompleteEvent)
            response = closing.response
        else:
            response = create(**request)
        self._hear(response)
        return response

    def _hear(self, response: Response) -> None:
        self.calls = [item.call_id for item in response.output if item.type == "function_call"]
        items = [_item(item.to_dict()) for item in response.output]
        self.told = {
            "output": items,
            "text": response.output_text,
            "status": response.status,
            "reason": response.incomplete_details and response.incomplete_details.reason,
            "usage": response.usage and response.usage.to_dict(),
        }
        self.said = [
            _read(*told) if kind == "function_call" else text(*told)
            for kind, *told in items
            if kind not in self.unsaid
        ]

    def expected(self, turn: int) -> dict[str, Any]:
        reason = RESPONSES_ENDS.get(self.row.stop_reason)
        return {
            "output": [*_items(self.row, turn)],
            "text": _words(self.row, turn),
            "status": "incomplete" if reason else "completed",
            "reason": reason,
            "usage": {
                "input_tokens": PROMPT_TOKENS,
                "input_tokens_details": {
                    "cached_tokens": TOLD["cache_read_input_tokens"],
                    "cache_write_tokens": TOLD["cache_creation_input_tokens"],
                },
                "output_tokens": TOLD["output_tokens"],
                "output_tokens_details": {
                    "reasoning_tokens": TOLD["output_tokens_details"]["thinking_tokens"]
                },
                "total_tokens": PROMPT_TOKENS + TOLD["output_tokens"],
            },
        }


class ResponsesChain(Responses):
    """Sends what is new, and names the response it goes on from. So the model has all of its own
    answer, and nothing of why the API refused."""

    unseen = (*THOUGHTS, *AT_ANTHROPIC)
    unsaid = ("reasoning", "refusal")
    _last = ""

    def _turn(self, new: list[Any], stream: bool) -> None:
        previous = {"previous_response_id": self._last} if self._last else {}
        self._last = self._response(stream, input=new, **previous).id


def _made(id_: str, name: str, arguments: str, **parsed: Any) -> tuple[str, str, str]:
    return id_, name, arguments


def _read(id_: str, name: str, arguments: str) -> Block:
    """What cannot be read is passed on as the text it is."""
    try:
        given = json.loads(arguments)
    except ValueError:
        given = {"arguments": arguments}
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def _words(row: Row, turn: int) -> str:
    return "".join(block["text"] for block in row.told_in(turn) if block["type"] == "text")


def _calls(row: Row, turn: int) -> list[tuple[str, str, str]]:
    return [(block["id"], block["name"], block["input"]) for block in row.calls_in(turn)]


def _items(row: Row, turn: int) -> Iterator[tuple[str, ...]]:
    calls = iter(_calls(row, turn))
    for block in row.told_in(turn):
        match block["type"]:
            case "text":
                yield "message", block["text"]
            case "thinking":
                yield "reasoning", block["thinking"]
            case "tool_use":
                yield "function_call", *next(calls)
    if row.stop_details:
        yield "refusal", row.stop_details["explanation"]


def _item(item: Mapping[str, Any]) -> tuple[str, ...]:
    match item["type"]:
        case "message":
            (part,) = item["content"]
            if part["type"] == "refusal":
                return "refusal", part["refusal"]
            return "message", part["text"]
        case "reasoning":
            (part,) = item["summary"]
            return "reasoning", part["text"]
        case "function_call":
            return "function_call", item["call_id"], item["name"], item["arguments"]
    raise AssertionError(item)


CLIENTS: dict[str, type[Client]] = {
    "messages": Messages,
    "chat": Chat,
    "responses": Responses,
    "responses chain": ResponsesChain,
}
