"""Conversations of a soak: who keeps the history, in which API, and whether the model was shown
what it should have been.

Every message has a mark of its own, and every answer is another, so that what is lost, doubled,
mixed up or altered is seen from what the model is shown.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.scripted_api import ScriptedServer
from tests.support.spoken import events
from tests.support.whole_requests import Unaccounted, conversation

URLS = {
    "messages": "https://api.anthropic.com/v1/messages",
    "chat": "https://api.openai.com/v1/chat/completions",
    "responses": "https://api.openai.com/v1/responses",
}
_MARK = re.compile(r"<(\w+)\.(\d+)>")

Said = tuple[str, str]


class Lost(AssertionError):
    """An answer that says that the conversation is no longer known, or cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One that has come to its end. `id` is what the API calls the response."""

    text: str
    id: str


@dataclass
class Talk:
    """A client's side of one conversation. `said` is what it has got an answer to, and the answers;
    `open` what it has asked since then and got none to, `ids` those of the answers."""

    name: str
    api: str
    chance: random.Random
    said: list[Said] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    count: int = 0
    tries: int = 0
    ids: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {}

    def turn(self, client: httpx.Client, api: ScriptedServer) -> bool:
        """Asks what is new, or the same once more. Returns whether there was an answer. Raises
        AssertionError where the model was shown anything else than it should have been, and
        `httpx.ConnectError` where nobody listens."""
        again = bool(self.open) and self.chance.random() < 0.7
        if not again:
            self.count += 1
            self.tries = 0
            self.open.append(f"Message <{self.name}.{self.count}>.")
        else:
            self.tries += 1
        asked = self.open[-1]
        before = len(api.calls)
        leaves, stream = self.chance.random() < 0.08, self.chance.random() < 0.6
        answer = self._asked(client, asked, leaves=leaves, stream=stream or leaves)
        for call in api.calls[before:]:
            if f"<{self.name}.{self.count}>" in json.dumps(call.body["messages"][-3:]):
                try:
                    self.check(conversation(call), asked)
                except Unaccounted as error:
                    raise AssertionError(f"mixed: {error}") from error
        if answer is None:
            return False
        self.answered(asked, answer)
        self.open.clear()
        return True

    def request(self, asked: str) -> dict[str, Any]:
        """What is sent, without what all requests have."""
        raise NotImplementedError

    def check(self, seen: Sequence[Said], asked: str) -> None:
        raise NotImplementedError

    def answered(self, asked: str, answer: Answer) -> None:
        self.said += [("user", asked), ("assistant", answer.text)]
        self.ids.append(answer.id)

    def body(self, spoken: Sequence[Said]) -> dict[str, Any]:
        messages = [{"role": role, "content": text} for role, text in spoken]
        match self.api:
            case "messages":
                return {"model": "opus", "max_tokens": 99, "messages": messages}
            case "chat":
                return {"model": "opus", "messages": messages}
        return {"model": "opus", "input": messages}

    def _asked(
        self, client: httpx.Client, asked: str, *, leaves: bool, stream: bool
    ) -> Answer | None:
        headers = dict(self.headers)
        if self.tries:
            headers["x-stainless-retry-count"] = str(self.tries)
        body = self.request(asked) | {"stream": stream}
        try:
            with client.stream("POST", URLS[self.api], headers=headers, json=body) as response:
                if leaves and response.status_code == 200:
                    next(response.iter_raw())
                    return None
                content = response.read()
        except httpx.ConnectError:
            raise
        except (httpx.HTTPError, StopIteration):
            return None
        if response.status_code != 200:
            self._refused(response.status_code, content)
            return None
        if response.headers["x-sessionbridge-reason"] == "memory_lost":
            raise Lost(f"lost: {self.name} began anew")
        return self._streamed(content) if stream else self._whole(json.loads(content))

    def _refused(self, status: int, content: bytes) -> None:
        self.faults[str(status)] += 1
        if status in (400, 404, 409) or "sessionbridge" in content.decode(errors="replace")[:20]:
            raise Lost(f"lost: {self.name} was told {status} {content.decode()[:300]}")

    def _whole(self, document: dict[str, Any]) -> Answer:
        match self.api:
            case "messages":
                return Answer(document["content"][0]["text"], document["id"])
            case "chat":
                return Answer(document["choices"][0]["message"]["content"], document["id"])
        return Answer(document["output"][-1]["content"][0]["text"], document["id"])

    def _streamed(self, content: bytes) -> Answer | None:
        """None for a stream that ends in an error, or not at all."""
        told = events(content)
        match self.api:
            case "messages":
                if not told or told[-1]["type"] != "message_stop":
                    return None
                texts = [e["delta"].get("text", "") for e in told if "delta" in e]
                return Answer("".join(texts), told[0]["message"]["id"])
            case "chat":
                if b"data: [DONE]" not in content or any("error" in e for e in told):
                    return None
                choices = [c for e in told for c in e["choices"]]
                texts = [c["delta"].get("content") or "" for c in choices]
                return Answer("".join(texts), told[0]["id"])
        if not told or told[-1]["type"] != "response.completed":
            return None
        return self._whole(told[-1]["response"])


class Resends(Talk):
    """The client keeps the history, and the model sees exactly what it sends."""

    def __post_init__(self) -> None:
        self.headers = {"X-OpenClaw-Session": self.name}

    def request(self, asked: str) -> dict[str, Any]:
        return self.body([*self.said, ("user", asked)])

    def check(self, seen: Sequence[Said], asked: str) -> None:
        expect_same(seen, [*self.said, ("user", asked)])


class Chained(Talk):
    """The bridge keeps it, and each request names the response before."""

    previous: str | None = None

    def request(self, asked: str) -> dict[str, Any]:
        named = {"previous_response_id": self.previous} if self.previous else {}
        return self.body([("user", asked)]) | named

    def check(self, seen: Sequence[Said], asked: str) -> None:
        expect_same(seen, [*self.said, ("user", asked)])

    def answered(self, asked: str, answer: Answer) -> None:
        super().answered(asked, answer)
        self.previous = answer.id


class Kept(Talk):
    """The bridge keeps it. What was asked without an answer that came to its end may be part of it
    or not: the answer may have been whole when the client was cut off from it."""

    def __post_init__(self) -> None:
        self.headers = {"X-GoClaw-User-Id": self.name}
        self.maybe: set[int] = set()

    def request(self, asked: str) -> dict[str, Any]:
        return self.body([("user", asked)])

    def answered(self, asked: str, answer: Answer) -> None:
        self.maybe |= {_number(text) for text in self.open if text != asked}
        super().answered(asked, answer)

    def check(self, seen: Sequence[Said], asked: str) -> None:
        unanswered = self.maybe | {_number(text) for text in self.open if text != asked}
        known, place = [], 0
        while place < len(seen):
            role, text = seen[place]
            if role == "user" and place + 1 < len(seen) and _number(text) in unanswered:
                unanswered.discard(_number(text))
                place += 2
                continue
            known.append((role, text))
            place += 1
        expect_same(known, [*self.said, ("user", asked)])


def expect_same(seen: Sequence[Said], sent: Sequence[Said]) -> None:
    if list(seen) == list(sent):
        return
    marks = [_MARK.findall(text) for role, text in seen if role == "user"]
    flat = [mark for found in marks for mark in found]
    own = {name for name, _ in flat}
    wanted = [mark for role, text in sent if role == "user" for mark in _MARK.findall(text)]
    if len(own) > 1:
        kind = "mixed"
    elif len(flat) > len(set(flat)):
        kind = "doubled"
    elif set(wanted) - set(flat):
        kind = "lost"
    else:
        kind = "altered"
    raise AssertionError(f"{kind}: the model was shown\n{list(seen)}\ninstead of\n{list(sent)}")


def _number(text: str) -> int:
    return int(_MARK.findall(text)[0][1])


def conversations(number: int, seed: int) -> list[Talk]:
    """Of each kind in turn."""
    kinds: list[tuple[type[Talk], str]] = [
        *((Resends, api) for api in URLS),
        *((Kept, api) for api in URLS),
        (Chained, "responses"),
    ]
    return [
        kind(f"t{n}", api, random.Random(f"{seed} {n}"))
        for n, (kind, api) in enumerate(kinds[n % len(kinds)] for n in range(number))
    ]
