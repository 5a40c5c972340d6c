"""Random walks of a client through a real proxy and the real CLI; a seed is a walk.

After each turn the model must have been shown what the client sent. The client speaks both APIs
in turn, always offers the same two tools, and has a session key of its own, so many walks share one
proxy.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import httpx

from sessionbridge.model import Block, Message, ToolUseBlock
from tests.support.clients import Clients
from tests.support.odd_answers import THINKING, odd_answer, wants_thoughts
from tests.support.scripted_api import ScriptedServer
from tests.support.spoken import (
    Talk,
    Way,
    assert_same,
    assistant,
    calls,
    image,
    in_order,
    questions,
    result,
    text,
    user,
)
from tests.support.whole_requests import Shown, shown

STEPS = 12
URLS = {
    "messages": "https://api.anthropic.com/v1/messages",
    "chat": "https://api.openai.com/v1/chat/completions",
}
MODELS = {"messages": "sonnet", "chat": "gpt-4o"}
SYSTEM = "You are Claude."
TITLE = "You are a title generator."
PICTURE = image(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
NAMES_OF_TOOLS = ("look", "note")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
EXTRA_TOOL = "seldom"
EFFORTS = ("low", "medium", "high")
NAMES = ("Ada", "Bob", "Cleo", "Zoë")


@dataclass(frozen=True)
class Settings:
    """How a turn is asked, beside what is said."""

    system: str = SYSTEM
    max_tokens: int = 900
    effort: str = "high"
    tools: tuple[str, ...] = NAMES_OF_TOOLS

    def fields(self, way: Way, *, thinks: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"model": MODELS[way.api], "max_tokens": self.max_tokens}
        functions = [(name, SCHEMA) for name in self.tools]
        if way.api == "messages":
            told["tools"] = [{"name": name, "input_schema": schema} for name, schema in functions]
            told["output_config"] = {"effort": self.effort}
        else:  # where effort asks for thoughts
            told["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in functions
            ]
        return {**told, **(THINKING[way.api] if thinks else {})}


class Walk:
    """`plans` counts plans and reasons as the response headers tell them, `taken` names the steps
    so far. `send` and what it is called by raise AssertionError where the law is broken."""

    def __init__(self, seed: int, api: ScriptedServer, prefix: str = "walk") -> None:
        self.seed = seed
        self.plans: Counter[str] = Counter()
        self.taken: list[str] = []
        self._name = f"{prefix}-{seed}"
        self._api = api
        self._chance = random.Random(seed)
        self._talk: Talk = ()
        self._kept: list[Talk] = []
        self._number = 0
        self._settings = Settings()
        self._speaks = Way(self._chance.choice(("messages", "chat")))

    @property
    def _headers(self) -> dict[str, str]:
        return {
            "User-Agent": "opencode/1.18.33",
            "x-session-id": self._name,
            "x-session-affinity": self._name,
        }

    def take(self, proxy: Clients, steps: int, tell: Callable[[], None] = lambda: None) -> None:
        self._client = proxy.http(headers=self._headers)
        for _ in range(steps):
            step = self._chosen()
            self.taken.append(step.__name__.strip("_"))
            try:
                step()
            except Exception as error:
                error.add_note(f"seed {self.seed}, after the steps: {', '.join(self.taken)}")
                raise
            tell()

    def _chosen(self) -> Callable[[], None]:
        leaves = [self._branch_back, self._regenerate, self._edit]
        if self._waits:
            gives = [self._give_results] * 5 + [self._give_results_twice, self._abort]
            return self._chance.choice(gives + leaves)
        anytime = [self._append, self._two_messages_in_a_row, self._abort, self._side_call]
        anytime += [self._call] * 3 + [self._show_a_picture] + [self._odd_answer] * 3
        later = [self._delete_last, self._retry, self._slide]
        later += [self._rewrite_an_answer] if self._answers else []
        later += [self._give_other_results] if any(map(calls, self._talk)) else []
        return self._chance.choice(anytime + leaves + later if self._talk else anytime)

    # -- steps ------------------------------------------------------------------------------------

    def _append(self) -> None:
        self._say(*self._talk, self._next())

    def _two_messages_in_a_row(self) -> None:
        self._say(*self._talk, self._words(), self._words())

    def _show_a_picture(self) -> None:
        self._say(*self._talk, user(PICTURE, *self._words().blocks))

    def _edit(self) -> None:
        self._say(*self._talk[: self._chance.choice(questions(self._talk))], self._words())

    def _regenerate(self) -> None:
        self._say(*self._talk[: None if self._is_unanswered else -1])

    def _branch_back(self) -> None:
        self._talk = self._chance.choice(self._kept)
        self._append()

    def _delete_last(self) -> None:
        self._talk = self._talk[: questions(self._talk)[-1]]
        self._append()

    def _slide(self) -> None:
        """The oldest question and its answers are left out from here on."""
        asked = questions(self._talk)
        starts = [n for n in asked if n and self._talk[n - 1].role == "assistant"]
        self._talk = self._talk[starts[0] :] if starts else ()
        self._append()

    def _rewrite_an_answer(self) -> None:
        place = self._chance.choice(self._answers)
        made = calls(self._talk[place])
        rewritten = assistant(f"In other words. ({self._marker()})", *made)
        self._talk = (*self._talk[:place], rewritten, *self._talk[place + 1 :])
        self._append()

    def _retry(self) -> None:
        """The same request twice: the client has not got the first answer."""
        self._twice((*self._talk, self._words(self._commands())))

    def _abort(self) -> None:
        """Leaves in the middle of an answer; asks the same again, or goes on without it."""
        gate = f"{self._name}-{self._number}"
        sent, before = (*self._talk, self._next(f" [gate {gate}]")), len(self._api.calls)
        way, settings = self._way(sent, stream=True), self._next_settings(sent)
        content = self._body(sent, way, settings)
        with self._client.stream("POST", URLS[way.api], content=content) as answer:
            assert answer.status_code == 200
            self._api.wait_until_held(gate)
            self._check(sent, before, way, settings)
        self._api.open_gate(gate)
        if self._chance.random() < 0.5:
            self._say(*sent)
        else:
            self._append()

    def _side_call(self) -> None:
        """A title is asked for, under the same key, at the moment of a turn."""
        sent = (*self._talk, self._words())
        title = (user(f"Generate a title. ({self._marker()})"),)
        ways = self._way(title), self._way(sent)
        with ThreadPoolExecutor(1) as pool:
            side = pool.submit(self._send, title, ways[0], Settings(TITLE))
            self._show(sent, self._send(sent, ways[1]))
            side.result()

    def _call(self) -> None:
        self._say(*self._talk, self._words(self._commands()))

    def _odd_answer(self) -> None:
        self._say(*self._talk, self._words(self._odd()))

    def _give_results(self) -> None:
        self._append()

    def _give_results_twice(self) -> None:
        self._twice((*self._talk, self._next()))

    def _give_other_results(self) -> None:
        """To calls of long ago, which had others."""
        places = [place for place in self._answers if calls(self._talk[place])]
        self._talk = self._talk[: self._chance.choice(places) + 1]
        self._append()

    # -- what it takes ----------------------------------------------------------------------------

    @property
    def _waits(self) -> bool:
        return bool(self._talk and calls(self._talk[-1]))

    @property
    def _is_unanswered(self) -> bool:
        return self._talk[-1].role == "user"

    @property
    def _answers(self) -> list[int]:
        return [place for place, one in enumerate(self._talk) if one.role == "assistant"]

    def _say(self, *sent: Message) -> None:
        self._show(sent, self._send(sent, self._way(sent)))

    def _twice(self, sent: Talk) -> None:
        way = self._way(sent)
        self._send(sent, way)
        self._show(sent, self._send(sent, way))

    def _show(self, sent: Talk, answer: Message) -> None:
        """An answer that is empty is no part of it: the API takes none back."""
        self._talk = (*sent, answer) if answer.blocks else sent
        self._kept.append(self._talk)

    def _marker(self) -> str:
        self._number += 1
        return f"{self._name}.{self._number}."

    def _next(self, more: str = "") -> Message:
        """What can be said now: results, where calls wait for them."""
        return self._results(more) if self._waits else self._words(more)

    def _words(self, more: str = "") -> Message:
        name = self._chance.choice(NAMES)
        words = self._chance.choice([f"My name is {name}.", "Who am I?", "See @/etc/hostname"])
        return user(f"{words} ({self._marker()}){more}")

    def _commands(self) -> str:
        names = self._chance.choices(NAMES_OF_TOOLS, k=self._chance.choice((1, 2)))
        return "".join(f'[call {name} {{"n": {n}}}]' for n, name in enumerate(names, self._number))

    def _odd(self) -> str:
        return odd_answer(self._chance, self._number)

    def _results(self, more: str) -> Message:
        """Of all calls that wait, in any order; now and then with words beside them."""
        made = calls(self._talk[-1])
        results = [self._result(call, more) for call in self._chance.sample(made, len(made))]
        beside = self._words().blocks if self._chance.random() < 0.1 else ()
        return user(*results, *beside)

    def _result(self, call: ToolUseBlock, more: str) -> Block:
        words = f"Found. ({self._marker()}){more}"
        if more or self._chance.random() < 0.5:
            return result(call, words)
        return self._chance.choice(
            [
                result(call, f"More. ({self._marker()}) {self._commands()}"),
                result(call, f"Odd. ({self._marker()}) {self._odd()}"),
                result(call, [text(words), text("And that.")]),
                result(call),
                result(call, words, is_error=True),
                result(call, [text(words), PICTURE]),
            ]
        )

    def _way(self, sent: Talk, *, stream: bool | None = None) -> Way:
        """By the API of the turn before, or by another, which is answered by another model."""
        if self._chance.random() < 0.4:
            self._speaks = self._chance.choice((Way("messages"), Way("chat")))
        streamed = self._chance.random() < 0.5 if stream is None else stream
        return replace(self._speaks, stream=streamed).able(sent)

    def _next_settings(self, sent: Talk) -> Settings:
        """Now and then others: programs put the time into their prompt, or the state of a
        repository, ask for what there is room for, and have tools that come and go."""
        if not self._waits:
            number = self._chance.choice((0, 0, self._number))
            tools = self._chance.choice((NAMES_OF_TOOLS, (*NAMES_OF_TOOLS, EXTRA_TOOL)))
            self._settings = Settings(
                f"{SYSTEM} It is {number}.",
                self._chance.choice((900, 901, 32_000)),
                self._chance.choice(EFFORTS),
                tuple(self._chance.sample(tools, len(tools))),
            )
        return self._settings

    def _body(self, sent: Talk, way: Way, settings: Settings) -> bytes:
        return way.body(sent, settings.system, **settings.fields(way, thinks=_thinks(sent)))

    def _send(self, sent: Talk, way: Way, settings: Settings | None = None) -> Message:
        settings = settings or self._next_settings(sent)
        before = len(self._api.calls)
        answer = self._post(sent, way, settings)
        assert answer.status_code == 200, answer.text
        headers = answer.headers
        plan = f"{headers['x-sessionbridge-plan']} {headers['x-sessionbridge-reason']}"
        self.plans[plan] += 1
        self._check(sent, before, way, settings)
        return way.read(answer.content)

    def _post(self, sent: Talk, way: Way, settings: Settings) -> httpx.Response:
        return self._client.post(URLS[way.api], content=self._body(sent, way, settings))

    def _check(self, sent: Talk, before: int, way: Way, settings: Settings) -> None:
        """The first call made since then with these words showed all that was sent, and nothing
        else. (After some answers the CLI asks again, before it can be ended where the machine is
        busy.)"""
        marker = self._marker_of(sent)
        made = ((shown(call), call.body) for call in self._api.calls[before:])
        asked = next(((one, body) for one, body in made if marker in str(one.messages)), None)
        assert asked, f"the model was not called for {marker}"
        seen, body = asked
        assert_same(in_order(_talk(seen)), in_order(_numbers_as_shown(sent)))
        assert seen.system == settings.system
        assert seen.tools == {name: ("", SCHEMA) for name in settings.tools}
        fields = settings.fields(way, thinks=_thinks(sent))
        assert body["max_tokens"] == fields["max_tokens"]
        if way.api == "messages":
            assert body["output_config"] == fields["output_config"]
        assert ("thinking" in body) == _thinks(sent)

    def _marker_of(self, sent: Talk) -> str:
        """The last of what is marked: no other call made at the moment has it."""
        told = str([message for message in sent if message.role == "user"])
        *_, last = re.finditer(rf"{self._name}\.\d+\.", told)
        return last[0]


def _thinks(sent: Talk) -> bool:
    return wants_thoughts(str(sent[-1]))


def _talk(seen: Shown) -> Talk:
    """Without what the model thought, which these clients do not send."""
    told = [(r, [b for b in blocks if b["type"] != "thinking"]) for r, blocks in seen.messages]
    return tuple(
        Message("user" if role == "user" else "assistant", tuple(cast("list[Block]", blocks)))
        for role, blocks in told
        if blocks
    )


def _numbers_as_shown(talk: Talk) -> Talk:
    """The CLI writes 1.0 as 1."""
    return tuple(
        Message(message.role, tuple(_with_numbers(block) for block in message.blocks))
        for message in talk
    )


def _with_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_with_numbers(part) for part in value]
        case dict():
            return {name: _with_numbers(part) for name, part in value.items()}
    return value


def take_walks(
    walks: list[Walk],
    proxy: Clients,
    steps: int,
    *,
    at_once: int = 3,
    tell: Callable[[], None] = lambda: None,
) -> list[BaseException | None]:
    """Takes some steps of each walk, several walks at once; what each of them failed with."""
    with ThreadPoolExecutor(at_once) as pool:
        taken = [pool.submit(walk.take, proxy, steps, tell) for walk in walks]
    return [one.exception() for one in taken]
