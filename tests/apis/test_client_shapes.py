"""Conversations in the way real clients write them, as recorded in `captured/`, and told on."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from sessionbridge.model import Message, ToolResultBlock, ToolUseBlock
from tests.sessions.test_origin_fixtures import captured, detect, with_runtime_line
from tests.support.bridge_fixtures import Answer, House, ask, held, house
from tests.support.recordings import without_notes
from tests.support.scripted_dispatcher import Conversation
from tests.support.spoken import (
    PIXEL,
    Talk,
    Way,
    assert_same,
    assistant,
    image,
    text,
    text_in,
    user,
)

__all__ = ["house"]

Rendered = list[dict[str, Any]]
CACHED: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}


def openclaw_messages(talk: Talk) -> Rendered:
    """What was said before becomes strings; the context is there in the newest turn alone."""
    *earlier, last, context = talk
    return [
        *map(spoken, earlier),
        {"role": "user", "content": [{**text(words(last)), **CACHED}]},
        {"role": "user", "content": [text(words(context))]},
    ]


def spoken(message: Message) -> dict[str, Any]:
    content: Any = words(message) if message.role == "user" else list(message.blocks)
    return {"role": message.role, "content": content}


def words(message: Message) -> str:
    return "".join(str(block["text"]) for block in message.blocks)


def strings(talk: Talk) -> Rendered:
    return [{"role": m.role, "content": words(m)} for m in talk]


def openclaw_chat(talk: Talk) -> Rendered:
    return [*strings(talk[:-1]), {"role": "user", "content": [text(words(talk[-1]))]}]


def blocks_only(talk: Talk) -> Rendered:
    return [{"role": m.role, "content": [text(words(m))]} for m in talk]


def opencode_messages(talk: Talk) -> Rendered:
    """The last two messages are marked for the cache, and the marks move with each turn."""
    rendered = blocks_only(talk)
    for message in rendered[-2:]:
        message["content"][-1] |= CACHED
    return rendered


def langchain_messages(talk: Talk) -> Rendered:
    plain = [m.role == "user" and m.blocks[0]["type"] == "text" for m in talk]
    return [
        {"role": m.role, "content": words(m) if only else [dict(b) for b in m.blocks]}
        for m, only in zip(talk, plain, strict=True)
    ]


def langchain_chat(talk: Talk) -> Rendered:
    rendered: Rendered = []
    for message in talk:
        rendered += json.loads(Way("chat").body((message,)))["messages"]
    return rendered


RENDER: dict[str, Callable[[Talk], Rendered]] = {
    "openclaw-anthropic": openclaw_messages,
    "openclaw-chat": openclaw_chat,
    "openclaw-chat-affinity": openclaw_chat,
    "opencode-anthropic": opencode_messages,
    "opencode-chat": strings,
    "llm-anthropic": blocks_only,
    "llm-chat": strings,
    "pysdk-langchain-anthropic": langchain_messages,
    "pysdk-langchain-openai": langchain_chat,
}


class Program:
    """A recorded program. `played` are the two recorded turns; what is told on is made up."""

    def __init__(self, name: str, house: House) -> None:
        self.name, self.house = name, house
        self.recording = captured(name)
        chat = self.recording["turn_1"]["path"].endswith("completions")
        self.api: Literal["messages", "chat"] = "chat" if chat else "messages"
        self.talk: Talk = ()
        self.context: Talk = ()
        recorded = self.recording["turn_2"]["body"]["messages"]
        self.system = [m for m in recorded if m["role"] == "system"]
        told = neutral(recorded[len(self.system) :])
        if name.startswith("openclaw"):
            *told, context = told
            self.context = (context,)
        self.questions, self.elsewhere, self.first_answer = told[::2], told[2:-1], told[1]
        self.last_question = told[-1]

    def request(self, sent: Talk) -> dict[str, Any]:
        request: dict[str, Any] = copy.deepcopy(self.recording["turn_1"])
        request["body"] = without_notes(request["body"])
        request["body"]["messages"] = [*self.system, *RENDER[self.name](sent)]
        if self.name == "openclaw-anthropic":
            request = with_runtime_line(request)
        if detect(request) is None:  # a header that is set in its configuration
            request["headers"].append(["X-Session-Id", "configured"])
        return request

    async def say(self, message: Message) -> dict[str, Any]:
        """One turn; the request it was."""
        sent = (*self.talk, message, *self.context)
        request = self.request(sent)
        jobs = len(self.house.dispatcher.jobs)
        answer = await send(self.house, request, self.api)
        assert len(self.house.dispatcher.jobs) == jobs + 1
        assert_same(self.house.dispatcher.seen[-1], sent)
        self.talk = (*self.talk, message, assistant(read(answer, self.api)))
        return request

    def reasons(self) -> list[str]:
        return [job.plan.reason for job in self.house.dispatcher.jobs]


async def send(house: House, request: dict[str, Any], api: str) -> Answer:
    return await ask(house.bridge, json.dumps(request["body"]).encode(), detect(request), api)


def read(answer: Answer, api: Literal["messages", "chat"]) -> str:
    assert answer.status == 200 and answer.whole, answer.body
    return text_in(Way(api, stream=True).read(answer.body))


def neutral(rendered: Sequence[dict[str, Any]]) -> list[Message]:
    told: list[Message] = []
    for message in rendered:
        content = message["content"]
        parts: list[Any] = [text(content)] if isinstance(content, str) else content
        parts = [{k: v for k, v in p.items() if k not in CACHED} for p in parts]
        if message["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": message["tool_call_id"]}
            parts = [result | {"content": content}]
        for call in message.get("tool_calls", ()):
            function = call["function"]
            used = {"type": "tool_use", "id": call["id"], "name": function["name"]}
            parts.append(used | {"input": json.loads(function["arguments"])})
        role: Literal["user", "assistant"] = "assistant"
        told.append(Message(role if message["role"] == role else "user", tuple(parts)))
    return told


CONTINUED = {name: "continued" for name in RENDER} | {
    name: "imported" for name in RENDER if name.startswith("openclaw")
}
"""OpenClaw's last turn ends in a message that is not there any more: no tip to go on from."""


@pytest.mark.acceptance(8, 22)
@pytest.mark.parametrize("name", RENDER)
async def test_the_recorded_conversation_and_what_comes_after_it(house: House, name: str) -> None:
    program = Program(name, house)
    answers = [words(program.first_answer)]
    house.dispatcher.answer = lambda seen: answers.pop(0) if answers else f"heard {len(seen)}"

    first = await program.say(program.questions[0])
    assert first["body"]["messages"] == program.recording["turn_1"]["body"]["messages"]
    program.talk = (*program.talk, *program.elsewhere)  # with tools, which are still its own
    second = await program.say(program.last_question)
    assert second["body"]["messages"] == program.recording["turn_2"]["body"]["messages"]
    for number in range(4):
        await program.say(user(f"question {number}"))

    used_tools = len(program.elsewhere) > 0
    assert program.reasons()[0] == "first_turn"
    assert program.reasons()[1] == ("imported" if used_tools else CONTINUED[name])
    assert program.reasons()[2:] == [CONTINUED[name]] * 4
    # However long the conversation has become, at most the last exchange is told anew.
    assert max(len(job.plan.feed) for job in house.dispatcher.jobs[2:]) <= 2


@pytest.mark.acceptance(22)
@pytest.mark.parametrize("name", ["opencode-anthropic", "opencode-chat"])
async def test_opencodes_title_call_stays_out_of_the_conversation(house: House, name: str) -> None:
    program = Program(name, house)
    (title,) = program.recording["side_calls"]
    first = program.request((program.questions[0],))
    assert detect(title) == detect(first)

    answers = await asyncio.gather(send(house, title, program.api), send(house, first, program.api))

    dispatcher = house.dispatcher
    told = [m for m in title["body"]["messages"] if m["role"] != "system"]
    expected = {False: (program.questions[0],), True: tuple(neutral(told))}
    for job, seen in zip(dispatcher.jobs, dispatcher.seen, strict=True):
        assert_same(seen, expected["title generator" in job.system])
    assert program.reasons() == ["first_turn", "first_turn"]
    program.talk = (program.questions[0], assistant(read(answers[1], program.api)))
    await program.say(program.last_question)
    await send(house, title, program.api)
    await program.say(user("And now?"))
    assert program.reasons()[2:] == ["continued", "first_turn", "continued"]


WAYS = [
    Way("messages", stream=True),
    Way("chat", stream=False, cut="blocks"),
    Way("messages", stream=False, cut="split"),
    Way("chat", stream=True, cut="split"),
    Way("messages", stream=True, cut="blocks"),
    Way("chat", stream=True),
]


def tool_use(number: int) -> tuple[ToolUseBlock, ToolResultBlock]:
    id_ = f"toolu_{number}"
    call: ToolUseBlock = {"type": "tool_use", "id": id_, "name": "add", "input": {"b": 1, "a": 2}}
    return call, {"type": "tool_result", "tool_use_id": id_, "content": "3"}


def answers_with_white_space(seen: Conversation) -> str:
    return f"\n heard {len(seen)} \n"


@pytest.mark.acceptance(12, 22)
async def test_one_conversation_by_both_apis_is_one_session(house: House) -> None:
    house.dispatcher.answer = answers_with_white_space
    call, result = tool_use(1)
    other_call, other_result = tool_use(2)
    talk: Talk = (
        user("Use it."),
        assistant("I will.", call, other_call),
        user(result, other_result),
        assistant("Done."),
    )
    said = [
        user("hello"),
        user("a", image(), "b"),
        user("two", " blocks\n"),
        user("c"),
        user("d", image(PIXEL * 2)),
        user("e"),
    ]
    for number, way in enumerate(WAYS):
        talk = (*talk, said[number])
        answer = await ask(house.bridge, way.body(talk), held("client"), way.api)
        assert_same(house.dispatcher.seen[-1], talk)
        talk = (*talk, way.read(answer.body))

    plans = [job.plan for job in house.dispatcher.jobs]
    assert [plan.reason for plan in plans] == ["imported"] + ["continued"] * 5
    assert [plan.name for plan in plans] == ["import"] + ["resume"] * 5
    assert len(house.dispatcher.sessions) == 1
