"""Random walks of a client through a real proxy and the real CLI; a seed is a walk.

After each turn the model must have been shown what the client sent. The client speaks both APIs
in turn and has a session key of its own, so many walks share one proxy.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from sessionbridge.turn import Message
from tests.proxy import Proxy
from tests.scripted_api import ScriptedServer
from tests.spoken import Talk, Way, assistant, user

STEPS = 12
URLS = {
    "messages": "https://api.anthropic.com/v1/messages",
    "chat": "https://api.openai.com/v1/chat/completions",
}
MODELS = {"messages": "sonnet", "chat": "gpt-4o"}
TITLE = "You are a title generator."
NAMES = ("Ada", "Bob", "Cleo", "Zoë")


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

    def take(self, proxy: Proxy, steps: int, tell: Callable[[], None] = lambda: None) -> None:
        headers = {
            "User-Agent": "opencode/1.18.33",
            "x-session-id": self._name,
            "x-session-affinity": self._name,
        }
        self._client = proxy.http(headers=headers)
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
        anytime = [self._append] * 3 + [self._two_messages_in_a_row, self._abort, self._side_call]
        later = [self._edit, self._regenerate, self._branch_back, self._delete_last, self._retry]
        later += [self._slide, self._rewrite_an_answer]
        return self._chance.choice(anytime + later if self._talk else anytime)

    # -- steps ------------------------------------------------------------------------------------

    def _append(self) -> None:
        self._say(*self._talk, self._words())

    def _two_messages_in_a_row(self) -> None:
        self._say(*self._talk, self._words(), self._words())

    def _edit(self) -> None:
        places = [n for n, message in enumerate(self._talk) if message.role == "user"]
        self._say(*self._talk[: self._chance.choice(places)], self._words())

    def _regenerate(self) -> None:
        self._say(*self._talk[:-1])

    def _branch_back(self) -> None:
        self._talk = self._chance.choice(self._kept)
        self._append()

    def _delete_last(self) -> None:
        self._talk = self._talk[:-2]
        self._append()

    def _slide(self) -> None:
        """The oldest question and its answers are left out from here on."""
        starts = [
            n
            for n, (was, now) in enumerate(pairwise(self._talk), 1)
            if (was.role, now.role) == ("assistant", "user")
        ]
        self._talk = self._talk[starts[0] :] if starts else ()
        self._append()

    def _rewrite_an_answer(self) -> None:
        places = [n for n, message in enumerate(self._talk) if message.role == "assistant"]
        place = self._chance.choice(places)
        rewritten = assistant(f"In other words. ({self._marker()})")
        self._talk = (*self._talk[:place], rewritten, *self._talk[place + 1 :])
        self._append()

    def _retry(self) -> None:
        """The same request twice: the client has not got the first answer."""
        sent, way = (*self._talk, self._words()), self._way()
        self._send(sent, way)
        self._show(sent, self._send(sent, way))

    def _abort(self) -> None:
        """Leaves in the middle of an answer; asks the same again, or goes on without it."""
        gate = f"{self._name}-{self._number}"
        sent, way = (*self._talk, self._words(f" [gate {gate}]")), self._way(stream=True)
        with self._client.stream("POST", URLS[way.api], content=self._body(sent, way)) as answer:
            assert answer.status_code == 200
            self._api.wait_until_held(gate)
            self._check(sent)
        self._api.open_gate(gate)
        if self._chance.random() < 0.5:
            self._show(sent, self._send(sent, self._way()))
        else:
            self._append()

    def _side_call(self) -> None:
        """A title is asked for, under the same key, at the moment of a turn."""
        sent, ways = (*self._talk, self._words()), (self._way(), self._way())
        title = (user(f"Generate a title. ({self._marker()})"),)
        with ThreadPoolExecutor(1) as pool:
            side = pool.submit(self._send, title, ways[0], TITLE)
            self._show(sent, self._send(sent, ways[1]))
            side.result()

    # -- what it takes ----------------------------------------------------------------------------

    def _say(self, *sent: Message) -> None:
        self._show(sent, self._send(sent, self._way()))

    def _show(self, sent: Talk, answer: str) -> None:
        self._talk = (*sent, assistant(answer))
        self._kept.append(self._talk)

    def _marker(self) -> str:
        self._number += 1
        return f"{self._name}.{self._number}."

    def _words(self, more: str = "") -> Message:
        name = self._chance.choice(NAMES)
        words = self._chance.choice([f"My name is {name}.", "Who am I?", "See @/etc/hostname"])
        return user(f"{words} ({self._marker()}){more}")

    def _way(self, *, stream: bool | None = None) -> Way:
        api = self._chance.choice(("messages", "chat"))
        streamed = self._chance.random() < 0.5 if stream is None else stream
        return Way("chat" if api == "chat" else "messages", streamed)

    def _body(self, sent: Talk, way: Way, system: str = "You are Claude.") -> bytes:
        return way.body(sent, system, model=MODELS[way.api])

    def _send(self, sent: Talk, way: Way, system: str = "You are Claude.") -> str:
        answer = self._client.post(URLS[way.api], content=self._body(sent, way, system))
        assert answer.status_code == 200, answer.text
        headers = answer.headers
        plan = f"{headers['x-sessionbridge-plan']} {headers['x-sessionbridge-reason']}"
        self.plans[plan] += 1
        self._check(sent)
        return way.read(answer.content)

    def _check(self, sent: Talk) -> None:
        """The last call made with these last words showed all that was sent, and nothing else."""
        assert self._api.seen(_last_words(sent))[-1] == _told(sent)


def _last_words(sent: Talk) -> str:
    return str(sent[-1].blocks[-1]["text"])


def _told(sent: Talk) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for message in sent:
        words = "".join(block["text"] for block in message.blocks)
        if told and told[-1][0] == message.role:
            told[-1] = message.role, f"{told[-1][1]}\n{words}"
        else:
            told.append((message.role, words))
    return told


def take_walks(
    walks: list[Walk],
    proxy: Proxy,
    steps: int,
    *,
    at_once: int = 3,
    tell: Callable[[], None] = lambda: None,
) -> list[BaseException | None]:
    """Takes some steps of each walk, several walks at once; what each of them failed with."""
    with ThreadPoolExecutor(at_once) as pool:
        taken = [pool.submit(walk.take, proxy, steps, tell) for walk in walks]
    return [one.exception() for one in taken]
