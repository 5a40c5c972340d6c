"""Conversations over nodes that are killed, on a PostgreSQL that is restarted: none may be lost,
doubled or mixed up."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import psycopg

from sessionbridge.cli.demo.scripted_api import Body, Failure, Reply
from tests.support import soak_clients
from tests.support.clients import ServerClients
from tests.support.haproxy import HAProxy, running_haproxy
from tests.support.long_run import Outcome
from tests.support.nodes import Node, running_nodes
from tests.support.postgres import Postgres, running_postgres
from tests.support.responses_talks import Responses, ResponsesChainStream
from tests.support.scripted_api import ScriptedServer
from tests.support.scripted_commands import prompt
from tests.support.soak_clients import Lost, conversations
from tests.support.soak_faults import SoakApi
from tests.support.tool_talks import ChatStream, Client, Messages, MessagesStream, plain
from tests.support.whole_requests import Unaccounted, messages

_OPTIONS = {"memory_lost": "error", "live": "8", "spare": "0", "first_token_timeout": "60"}
_OF_THE_MODEL = re.compile(r"scripted\d+")
"""What the API's id of an answer and all that are made of it have in common."""

_REFUSED = (400, 404, 409)
_CALLS = (
    '[call look {{"at": "{0}"}}]',
    '[call add {{"a": 1, "b": {1}}}] [call look {{"at": "{0}"}}]',
)
_UNHEARD = (anthropic.APIError, openai.APIError, httpx.HTTPError, httpx2.HTTPError)


class NodesApi(SoakApi):
    """Calls tools where it is asked to; else each answer is another, and takes its time."""

    async def _script(self, body: Body) -> Reply | Failure:
        asked = prompt(body)
        if asked.commands or asked.results:
            return await ScriptedServer._script(self, body)
        return await super()._script(body)


class _Clients(ServerClients):
    """One for each conversation, of which there are many turns."""

    def __init__(self, url: str, open_: ExitStack) -> None:
        super().__init__(url, open_)
        self._made: dict[tuple[str, str], Any] = {}

    def anthropic(self, headers: Mapping[str, str]) -> anthropic.Anthropic:
        return self._one(headers, "anthropic", super().anthropic)

    def openai(self, headers: Mapping[str, str]) -> openai.OpenAI:
        return self._one(headers, "openai", super().openai)

    def _one[T](
        self, headers: Mapping[str, str], kind: str, make: Callable[[Mapping[str, str]], T]
    ) -> T:
        key = kind, str(dict(headers))
        if key not in self._made:
            self._made[key] = make(headers)
        made: T = self._made[key]
        return made


class Tooled:
    """A conversation in which the model calls tools now and then, by an official client. What has
    failed is said once more, or something else instead."""

    def __init__(self, name: str, kind: Client, clients: _Clients, chance: random.Random) -> None:
        self.name = name
        self.faults = Counter[str]()
        self.answered = 0
        self.tried = 0
        self._talk = kind(clients, name)
        self._chance = chance
        self._numbers = count(1)

    def turn(self, client: httpx.Client, api: ScriptedServer) -> bool:
        """As `soak_clients.Talk.turn`."""
        before = len(api.calls)
        self.tried += 1
        try:
            self._ask()
        except (anthropic.APIStatusError, openai.APIStatusError) as error:
            self.faults[str(error.status_code)] += 1
            if error.status_code in _REFUSED:
                raise Lost(f"lost: {self.name} was told {error}"[:300]) from error
            return False
        except _UNHEARD:
            return False
        self.answered += 1
        self._check(api, before)
        return True

    def _ask(self) -> None:
        number = next(self._numbers)
        called = self._chance.choice(_CALLS).format(f"{self.name}.{number}", number)
        more = called if self._chance.random() < 0.5 else "That is all."
        if calls := self._talk.last.calls:
            self._talk.give(*[f"Result {number}." for _ in calls[1:]], f"{number}. {more}")
        else:
            self._talk.say(f"({self.name}) Turn {number}. {more}")

    def _check(self, api: ScriptedServer, before: int) -> None:
        for call in reversed(api.calls[before:]):
            if f"({self.name})" not in str(call.body["messages"]):
                continue
            try:
                shown, told = plain(messages(call)), plain(self._talk.asked)
            except Unaccounted as error:
                raise AssertionError(f"mixed: {error}") from error
            if shown != told:
                raise AssertionError(f"altered: the model was shown\n{shown}\ninstead of\n{told}")
            return
        raise AssertionError("lost: the model was never asked")


type Talk = soak_clients.Talk | Tooled


@dataclass
class NodeSoak(Outcome):
    in_ledger: int = 0


@dataclass(frozen=True, slots=True)
class _Place:
    api: NodesApi
    postgres: Postgres
    store: str
    nodes: Sequence[Node]
    haproxy: HAProxy


def node_soak(
    folder: Path,
    *,
    seconds: float,
    talks: int = 24,
    at_once: int = 6,
    every: float = 20.0,
    seed: int = 0,
    tell: Callable[[NodeSoak, str], None] = lambda soak, fault: None,
) -> NodeSoak:
    """`talks` conversations, `at_once` of them at any time, over two nodes of which one is killed
    `every` so many seconds, and started again."""
    chance = random.Random(seed)
    result = NodeSoak()
    api = NodesApi(random.Random(seed))
    with (
        api,
        running_postgres() as postgres,
        postgres.database() as store,
        running_nodes(folder, api.url, store, count=2, reachable=True, **_OPTIONS) as nodes,
        running_haproxy(nodes[0].port, nodes[1].port) as haproxy,
        ExitStack() as open_,
    ):
        place = _Place(api, postgres, store, nodes, haproxy)
        haproxy.wait_for(one="UP", two="UP")
        clients = _Clients(haproxy.url, open_)
        told = _told(talks, seed, clients)
        taking = _Taking(told, place, clients, result, chance)

        def tell_of(fault: str) -> None:
            if fault:
                result.faults[fault] += 1
            tell(result, fault)

        with ThreadPoolExecutor(at_once) as pool:
            running = [pool.submit(taking.work) for _ in range(at_once)]
            try:
                _go_wrong(place, taking, seconds, every, chance, tell_of)
            finally:
                taking.ended.set()
            for future in running:
                future.result()
        haproxy.wait_for(one="UP", two="UP")
        taking.last_turns()
        result.in_ledger = _look_at_ledger(store, told, result)
    for talk in told:
        result.statuses += talk.faults
    return result


def _told(talks: int, seed: int, clients: _Clients) -> list[Talk]:
    kinds = cycle((Messages, ChatStream, Responses, MessagesStream, ResponsesChainStream))
    tooled: Iterator[Talk] = (
        Tooled(f"tooled-{n}", next(kinds), clients, random.Random(f"{seed} tooled {n}"))
        for n in range(talks // 2)
    )
    return [*conversations(talks - talks // 2, seed), *tooled]


class _Taking:
    """Turns of the talks that nobody else takes at the time."""

    def __init__(
        self,
        talks: Sequence[Talk],
        place: _Place,
        clients: _Clients,
        result: NodeSoak,
        chance: random.Random,
    ) -> None:
        self.ended = threading.Event()
        self._waiting = list(talks)
        self._place = place
        self._http = clients.http(limits=httpx.Limits(max_connections=None))
        self._result = result
        self._chance = random.Random(chance.random())
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        return len(self._result.broken) > 5

    def work(self) -> None:
        while not self.ended.is_set():
            with self._lock:
                if not self._waiting:
                    return
                talk = self._waiting.pop(self._chance.randrange(len(self._waiting)))
            if not self._turn(talk):
                self.ended.wait(0.2)  # a client that is refused waits before it asks again
            if talk.name not in self._result.broken:
                with self._lock:
                    self._waiting.append(talk)

    def last_turns(self, patience: float = 60) -> None:
        """Nothing goes wrong any more, and each goes on from where it was."""
        for talk in self._waiting:
            deadline = time.monotonic() + patience
            while not self._turn(talk) and talk.name not in self._result.broken:
                if time.monotonic() > deadline:
                    self._result.broken[talk.name] = "lost: it gets no answer any more"

    def _turn(self, talk: Talk) -> bool:
        try:
            answered = talk.turn(self._http, self._place.api)
        except (AssertionError, Lost) as error:
            with self._lock:
                self._result.broken[talk.name] = str(error)
            return False
        with self._lock:
            self._result.turns += answered
            self._result.unanswered += not answered
        return answered


def _go_wrong(
    place: _Place,
    taking: _Taking,
    seconds: float,
    every: float,
    chance: random.Random,
    tell: Callable[[str], None],
) -> None:
    """Starts what it ends. PostgreSQL is restarted after every second node."""
    deadline = time.monotonic() + seconds
    restarts = cycle((None, "restarted", None, "ended at once"))
    while time.monotonic() + every < deadline and not taking.is_over:
        for _ in range(round(every)):
            tell("")
            time.sleep(every / round(every))
        number = chance.randrange(len(place.nodes))
        place.nodes[number].kill()
        time.sleep(chance.uniform(0, 3))
        place.nodes[number].start()
        tell(f"node {number + 1} killed")
        if way := next(restarts):
            place.postgres.stop(immediate=way != "restarted")
            time.sleep(chance.uniform(0, 2))
            place.postgres.start()
            tell(f"PostgreSQL {way}")


def _look_at_ledger(store: str, talks: Sequence[Talk], result: NodeSoak) -> int:
    """Each answer that a client has in whole is there once. Returns how many turns there are."""
    with psycopg.connect(store) as db:
        db.execute("SET search_path = sessionbridge")
        answers = Counter(
            _of_the_model(id_)
            for (id_,) in db.execute("SELECT response_id FROM turns WHERE response_id IS NOT NULL")
        )
        of_talks = Counter(name for (name,) in db.execute("SELECT external_id FROM turns"))
    for talk in talks:
        if isinstance(talk, Tooled):
            kept = of_talks[talk.name]
            wrong = "lost" if kept < talk.answered else "doubled" if kept > talk.tried else None
            if wrong:
                words = f"{kept} turns in the ledger, {talk.answered} answers, {talk.tried} tries"
                result.broken.setdefault(talk.name, f"{wrong}: {words}")
            continue
        for id_ in talk.ids:
            if (kept := answers[_of_the_model(id_)]) != 1:
                why = f"{'doubled' if kept else 'lost'}: {id_} is {kept} times in the ledger"
                result.broken.setdefault(talk.name, why)
    return of_talks.total()


def _of_the_model(id_: str) -> str:
    found = _OF_THE_MODEL.search(id_)
    assert found, id_
    return found[0]
