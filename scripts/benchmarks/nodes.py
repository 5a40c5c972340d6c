"""Several nodes of one PostgreSQL: what a turn costs at a node that has not had its conversation
before, and what more nodes carry."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import psycopg

from scripts.benchmarks.asking import ask, request
from scripts.benchmarks.figures import Benchmark, Figure, Options, median
from scripts.benchmarks.inside.ticking import Score
from scripts.benchmarks.latency import COLD, benchmark_of, by_turns, summary
from scripts.benchmarks.place import Place
from scripts.benchmarks.postgres import a_postgres
from scripts.benchmarks.processes import descendants, still, without_cli
from scripts.benchmarks.proxies import INSIDE, Mitmdump, mitmdump
from scripts.benchmarks.talks import ProxyTalk
from sessionbridge.sessions.store.postgres.migrations import SCHEMA
from tests.support.nodes import Node, running_nodes, without_password
from tests.support.postgres import Postgres

LENGTH = 50
"""Messages of the conversation, with the one that is asked."""

OTHER, PER_CORE, WHOLE = 1.3, 0.9, 2.5
NODES, TALKS, TURNS = 4, 25, 8
"""Nodes, and of each of them conversations and the turns of these."""

_WAYS = INSIDE.with_name("node.py")
_NOWHERE = "http://127.0.0.1:9"


@contextmanager
def _two_nodes(place: Place, live: str) -> Iterator[list[Node]]:
    with (
        a_postgres() as server,
        server.database() as store,
        running_nodes(place.folder, place.api, store, live=live, spare="0") as nodes,
    ):
        yield nodes


class Met:
    """A turn of a conversation at the node that it began at, or at the `other` one, which has never
    seen it. Each conversation is asked for one turn more, and no other."""

    def __init__(self, nodes: Sequence[Node], http: httpx.Client, *, other: bool) -> None:
        self._nodes = nodes
        self._http = http
        self._at = nodes[1 if other else 0]

    async def __call__(self) -> float:
        first = self._nodes[0]
        talk = ProxyTalk(self._http, earlier=LENGTH - 2, url=first.url)
        await talk.ask()
        await without_cli(first.proxy)
        await still()
        talk.go_to(self._at.url)
        taken = await talk.ask()
        await without_cli(self._at.proxy)
        return taken


async def other_node(place: Place, options: Options) -> list[Figure]:
    with (
        _two_nodes(place, "0") as nodes,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):
        contestants = {
            "other": Met(nodes, http, other=True),
            "same": Met(nodes, http, other=False),
        }
        times = await by_turns(contestants, options.rounds_or(COLD), options.say)
    ratio = median(times["other"]) / median(times["same"])
    return [
        Figure(
            f"a conversation of {LENGTH} messages at a node that has never seen it, "
            "against its cold resume",
            {"ratio": round(ratio, 2), **summary(times)},
            f"≤ {OTHER} ×",
            ratio <= OTHER,
        )
    ]


class Miss:
    """A turn that a load balancer gave to another node than the one whose process waits for it: is
    it `passed` on to that one, by a proxy that reads it as a node would, or taken over?"""

    def __init__(self, nodes: Sequence[Node], http: httpx.Client, url: str | None) -> None:
        self._nodes = nodes
        self._http = http
        self._url = url or nodes[1].url

    async def __call__(self) -> float:
        talk = ProxyTalk(self._http, url=self._nodes[0].url)
        await talk.ask()
        await still()
        talk.go_to(self._url)
        return await talk.ask()


async def holder(place: Place, options: Options) -> list[Figure]:
    with (
        _two_nodes(place, "10") as nodes,
        mitmdump(place.folder / "passing", f"reverse:{nodes[0].url}@0", door=None) as passing,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):
        contestants = {
            "taken": Miss(nodes, http, None),
            "passed": Miss(nodes, http, f"http://127.0.0.1:{passing.port}"),
            "hit": Miss(nodes, http, nodes[0].url),
        }
        times = await by_turns(contestants, options.rounds_or(COLD), options.say)
    ratio = median(times["passed"]) / median(times["taken"])
    return [
        Figure(
            "a load balancer's miss, passed on to the node that holds the process, against taken "
            "over",
            {"ratio": round(ratio, 2), **summary(times)},
            "to be known",
            True,
            ("a hit is the same turn at the node that holds the process",),
        )
    ]


@dataclass(frozen=True, slots=True)
class Carried:
    """What nodes did in one round: turns in so many seconds, and seconds of a processor that the
    nodes and PostgreSQL worked."""

    turns: int
    seconds: float
    worked: float

    @property
    def per_second(self) -> float:
        return self.turns / self.seconds

    @property
    def per_core(self) -> float:
        return self.turns / self.worked


def carry(options: Options) -> Iterable[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        a_postgres() as server,
        server.database() as store,
        ExitStack() as stack,
    ):
        url, env = without_password(store)
        settings = {"store": url, "concurrency": str(TALKS), "spare": "0", "upstream": "false"}
        nodes = [
            stack.enter_context(
                mitmdump(
                    Path(folder) / f"node-{number}",
                    f"reverse:{_NOWHERE}@0",
                    door=_WAYS,
                    options=settings,
                    env=env,
                )
            )
            for number in range(NODES)
        ]
        found = asyncio.run(_carried(nodes, server, options))
        kept = _kept(store)
    asked = sum(carried.turns for rounds in found.values() for carried in rounds)
    if kept != asked:
        raise RuntimeError(f"{kept} of {asked} turns were committed")
    yield _figure(found)


async def _carried(
    nodes: Sequence[Mitmdump], server: Postgres, options: Options
) -> dict[int, list[Carried]]:
    """By the number of nodes that were asked. The first round of each warms them up."""
    found: dict[int, list[Carried]] = {1: [], len(nodes): []}
    names = count()
    for number in range(options.rounds_or(5)):
        for size, rounds in found.items():
            carried = await _round(nodes[:size], server, names)
            rounds.append(carried)
            options.say(f"{number}: {size} nodes, {carried.per_second:.0f} turns a second")
    return found


async def _round(nodes: Sequence[Mitmdump], server: Postgres, names: Iterator[int]) -> Carried:
    before = _work(nodes, server)
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            for _ in range(TALKS):
                group.create_task(_talk(node.port, f"talk-{next(names)}"))
    seconds = time.perf_counter() - begun
    return Carried(len(nodes) * TALKS * TURNS, seconds, _work(nodes, server) - before)


async def _talk(port: int, name: str) -> None:
    for _ in range(TURNS):
        await ask(port, request(name, (), Score(1, 0.0), stream=True))


def _work(nodes: Sequence[Mitmdump], server: Postgres) -> float:
    """Seconds of a processor that all of their processes have used, those that have ended too."""
    assert server.process is not None
    roots = [node.pid for node in nodes] + [server.process.pid]
    used = 0
    for pid in {pid for root in roots for pid in (root, *descendants(root))}:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += sum(map(int, fields[11:15]))  # its own, and that of its children that have ended
    return used / os.sysconf("SC_CLK_TCK")


def _kept(store: str) -> int:
    with psycopg.connect(store) as db:
        ((turns,),) = db.execute(f"SELECT count(*) FROM {SCHEMA}.turns").fetchall()
    return int(turns)


def _figure(found: Mapping[int, Sequence[Carried]]) -> Figure:
    one, many = (rounds[1:] or rounds for rounds in found.values())
    whole, per_core = (
        median(getattr(carried, of) for carried in many)
        / median(getattr(carried, of) for carried in one)
        for of in ("per_second", "per_core")
    )
    cores = len(os.sched_getaffinity(0))
    # A node works on one core, and what asks them and PostgreSQL need some as well.
    enough = cores >= NODES + 2
    return Figure(
        f"turns a second of {NODES} nodes with {TALKS} conversations each, against one",
        {
            "ratio": round(whole, 2),
            "ratio_per_core": round(per_core, 2),
            **{
                f"{name}_{unit}": round(median(getattr(carried, of) for carried in rounds), 1)
                for name, rounds in (("one", one), ("all", many))
                for unit, of in (("turns_per_s", "per_second"), ("turns_per_core_s", "per_core"))
            },
        },
        f"≥ {WHOLE} ×; on {cores} cores ≥ {PER_CORE} × per core" if not enough else f"≥ {WHOLE} ×",
        whole >= WHOLE if enough else per_core >= PER_CORE,
        ("a second of a core is one that nodes and PostgreSQL have worked",),
    )


BENCHMARKS: dict[str, Benchmark] = {
    "other-node": benchmark_of(other_node),
    "nodes": carry,
    "holder": benchmark_of(holder),
}
