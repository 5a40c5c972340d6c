"""Random walks through conversations that are created at the API; a seed is a walk.

The walk keeps a list of what it has given, was answered and has not deleted. After each turn the
model must have been shown that, and after each step the API must list it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sessionbridge.model import Block, Message
from tests.support.scripted_api import ScriptedServer
from tests.support.spoken import assert_same, image, in_order, text
from tests.support.whole_requests import shown

STEPS = 8
MODEL = "claude-sonnet-4-5"
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "strict": False,
    },
    {"type": "custom", "name": "note", "description": "Notes."},
]
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)

Item = dict[str, Any]


class ConversationWalk:
    """`taken` names the steps so far. Raises AssertionError where the law is broken."""

    def __init__(self, client: Any, api: ScriptedServer, seed: int) -> None:
        self._client = client
        self._api = api
        self._random = random.Random(seed)
        self._seed = seed
        self._numbers = 0
        self._items: list[Item] = []
        self._groups: list[list[str]] = []
        """The ids of items that are deleted together, or the rest would make no conversation."""
        self.taken: list[str] = []

    def run(self) -> None:
        given = self._some() if self._random.random() < 0.7 else []
        created = self._client.conversations.create(items=[i for group in given for i in group])
        self._id = created.id
        self._gave(given)
        self._check()
        steps: list[Callable[[], None]] = [self._add, self._respond, self._respond, self._delete]
        for _ in range(STEPS):
            step = self._random.choice(steps)
            self.taken.append(step.__name__)
            step()
            self._check()
        self._respond()
        self._client.conversations.delete(self._id)

    def _words(self) -> str:
        self._numbers += 1
        return f"{self._seed}-{self._numbers}"

    def _some(self) -> list[list[Item]]:
        return [self._group() for _ in range(self._random.randint(1, 3))]

    def _group(self) -> list[Item]:
        said = {"role": "user", "content": self._words()}
        match self._random.randrange(5):
            case 0:
                return [said]
            case 1:
                return [said, {"role": "assistant", "content": self._words()}]
            case 2:
                parts = [
                    {"type": "input_text", "text": self._words()},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
                ]
                return [{"role": "user", "content": parts}]
            case 3:
                return [{"role": "developer", "content": self._words()}, said]
        called = self._random.random() < 0.5
        call_id = f"c{self._words()}"
        call = (
            {"type": "function_call", "name": "look", "arguments": '{"n": 1}'}
            if called
            else {"type": "custom_tool_call", "name": "note", "input": self._words()}
        )
        kind = f"{call['type']}_output"
        result = {"type": kind, "call_id": call_id, "output": self._words()}
        return [said, {**call, "call_id": call_id}, result]

    def _add(self) -> None:
        given = self._some()
        items = [item for group in given for item in group]
        self._client.conversations.items.create(self._id, items=items)
        self._gave(given)

    def _gave(self, given: Sequence[Sequence[Item]]) -> None:
        listed = self._listed()[len(self._items) :]
        self._items += listed
        for group in given:
            self._groups.append([item["id"] for item in listed[: len(group)]])
            listed = listed[len(group) :]

    def _delete(self) -> None:
        if not self._groups:
            return
        group = self._groups.pop(self._random.randrange(len(self._groups)))
        for id_ in group:
            self._client.conversations.items.delete(id_, conversation_id=self._id)
        self._items = [item for item in self._items if item["id"] not in group]

    def _respond(self) -> None:
        asks = bool(self._items) and self._items[-1].get("role") == "user"
        command = " [call look {}]" if self._random.random() < 0.3 else ""
        words = f"{self._words()}{command}"
        given = {} if asks and self._random.random() < 0.5 else {"input": words}
        answer = self._answer(given)
        group = [item["id"] for item in self._items[-len(answer.output) - bool(given) :]]
        while calls := [item for item in answer.output if item.type == "function_call"]:
            results = [
                {"type": "function_call_output", "call_id": call.call_id, "output": self._words()}
                for call in calls
            ]
            if self._random.random() < 0.5:
                answer = self._answer({"input": results})
            else:
                self._client.conversations.items.create(self._id, items=results)
                self._items = self._listed()
                answer = self._answer({})
            group += [item["id"] for item in self._items[-len(results) - len(answer.output) :]]
        self._groups.append(group)

    def _answer(self, given: Item) -> Any:
        asked: Item = {"model": MODEL, "tools": TOOLS, "conversation": self._id, **given}
        if self._random.random() < 0.3:
            *_, last = self._client.responses.create(**asked, stream=True)
            answer = last.response
        else:
            answer = self._client.responses.create(**asked)
        assert answer.status == "completed"
        before, self._items = self._items, self._listed()
        assert self._items[: len(before)] == before
        end = len(self._items) - len(answer.output)
        assert [i["id"] for i in self._items[end:]] == [item.id for item in answer.output]
        seen = shown(self._api.calls[-1])
        told = tuple(Message(role, tuple(blocks)) for role, blocks in seen.messages)  # type: ignore[arg-type]
        assert_same(in_order(told), in_order(tuple(_messages(self._items[:end]))))
        assert seen.system == "\n\n".join(_texts(self._items, "developer"))
        return answer

    def _check(self) -> None:
        assert self._listed() == self._items

    def _listed(self) -> list[Item]:
        pages = self._client.conversations.items.list(self._id, order="asc", limit=5)
        items: list[Item] = [item.model_dump(exclude_unset=True) for item in pages]
        back = self._client.conversations.items.list(self._id, limit=100)
        assert [item.id for item in back.data] == [item["id"] for item in reversed(items)][:100]
        return items


def _texts(items: Iterable[Item], role: str) -> list[str]:
    said = [item["content"] for item in items if item.get("role") == role]
    return ["".join(part["text"] for part in content) for content in said]


def _messages(items: Iterable[Item]) -> Iterable[Message]:
    for item in items:
        match item:
            case {"type": "message", "role": "user" | "assistant" as role, "content": content}:
                yield Message(role, tuple(map(_block, content)))
            case {"type": "function_call", "call_id": id_, "name": name, "arguments": given}:
                yield _call(id_, name, json.loads(given))
            case {"type": "custom_tool_call", "call_id": id_, "name": name, "input": given}:
                yield _call(id_, name, {"input": given})
            case {"call_id": id_, "output": output}:
                yield Message(
                    "user", ({"type": "tool_result", "tool_use_id": id_, "content": output},)
                )


def _call(id_: str, name: str, given: Any) -> Message:
    return Message("assistant", ({"type": "tool_use", "id": id_, "name": name, "input": given},))


def _block(part: Item) -> Block:
    if part["type"] == "input_image":
        return image(PICTURE)
    return text(part["text"])
