"""What remembering costs on PostgreSQL, where several nodes share it, against the file of one."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import tuple_row

from scripts.benchmarks import filling, filling_postgres
from scripts.benchmarks.figures import Benchmark, Figure, Options, median, percentile
from scripts.benchmarks.filling import TURNS, Conversation, said
from scripts.benchmarks.store import answered, remembered
from scripts.benchmarks.transcripts import lines_of_turn
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.places import Home, Place
from sessionbridge.sessions.store.postgres.migrations import SCHEMA
from sessionbridge.sessions.store.postgres.place import Postgres
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support import postgres

STORED = 100_000
TIMES, MS = 4.0, 8.0
_SAMPLES, _WARM = 200, 20
_SEED = 7


@contextmanager
def a_postgres() -> Iterator[postgres.Postgres]:
    """As it is installed: what it has committed is on the disk."""
    try:
        with postgres.running_postgres(quick=False) as server:
            yield server
    except pytest.skip.Exception as missing:  # no Exception, so that nothing would tell of it
        raise RuntimeError(missing.msg) from None


@dataclass(frozen=True, slots=True)
class Stages:
    """Milliseconds of one turn. `planned` is its first plan; then it has its `lock`, is planned
    `again` under it, and looks whether another node has added something; and when the CLI has
    answered it is `committed` and the lock is free."""

    planned: float
    lock: float
    again: float
    committed: float

    @property
    def whole(self) -> float:
        return self.planned + self.lock + self.again + self.committed


class Contestant:
    """The store at one place, with the `folder` of the transcripts."""

    def __init__(self, place: Place, locks: Locks, folder: Path) -> None:
        self.store = StoreThread(place, lambda: folder)
        self._locks = locks
        self._folder = folder
        self.stages: list[Stages] = []

    def has(self, conversation: Conversation) -> None:
        """Its transcript is here, as the last turn left it."""
        written = b"".join(filling_postgres.transcript(conversation.session))
        self._file(conversation).write_bytes(written)

    async def turn(self, conversation: Conversation) -> Stages:
        ask = said("user", f"And now, {conversation.number}?")
        resends = conversation.history == "client"
        links = chain([*(conversation.messages() if resends else []), ask])
        lines = lines_of_turn(conversation.session, TURNS)
        memory = remembered(self.store, conversation.origin, links)
        times = [time.perf_counter()]
        plan = await memory.plan()
        times.append(time.perf_counter())
        assert memory.lock is not None
        async with self._locks.hold(memory.lock, _never_waits):
            times.append(time.perf_counter())
            plan = await memory.plan()
            await memory.begin(plan)
            await self.store.fetch(conversation.session)
            times.append(time.perf_counter())
            with self._file(conversation).open("ab") as file:
                file.write(lines)
            begun = time.perf_counter()
            kept = await memory.commit(answered(plan, conversation.session))
        times.append(times[-1] + time.perf_counter() - begun)
        if plan.name != "resume" or plan.feed or kept is None:
            raise RuntimeError(f"{conversation.key} was not known: {plan.name} ({plan.reason})")
        return Stages(*((end - start) * 1000 for start, end in zip(times, times[1:], strict=False)))

    def _file(self, conversation: Conversation) -> Path:
        return self._folder / f"{conversation.session}.jsonl"


def _never_waits() -> None:
    raise RuntimeError("nobody else works with these conversations")


def turns(options: Options) -> Iterable[Figure]:
    yield from measure(options, STORED)


def measure(options: Options, stored: int) -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        a_postgres() as server,
        server.database() as url,
    ):
        home = Home(Path(folder))
        filling.fill(home.database, stored, options.say)
        filling_postgres.fill(url, stored, options.say)
        server.execute("CHECKPOINT")
        before = _wal(server)
        rounds = min(options.rounds_or(_SAMPLES), stored // TURNS - _WARM)
        found = asyncio.run(_taken(home, url, stored, rounds))
        wal, images = (b - a for a, b in zip(before, _wal(server), strict=True))
        sizes = _sizes(url)
    times = {name: [stages.whole for stages in taken] for name, taken in found.items()}
    p50 = percentile(times["postgres"], 50)
    ratio = p50 / percentile(times["sqlite"], 50)
    asked = rounds + _WARM
    yield Figure(
        f"plan and commit on PostgreSQL with {stored:,} turns in it, against SQLite",
        {
            "ratio": ratio,
            **{
                f"{name}_p{percent}_ms": percentile(taken, percent)
                for name, taken in times.items()
                for percent in (50, 99)
            },
        },
        f"≤ {TIMES:g} × and ≤ {MS:g} ms p50",
        ratio <= TIMES and p50 <= MS,
        (
            f"{rounds} turns by each, in turn; transcripts are kept with them in PostgreSQL",
            *(f"{name}: {_words(taken)}" for name, taken in found.items()),
            f"log of PostgreSQL {wal / asked:,.0f} bytes a turn, "
            f"with {images / asked:.1f} images of whole pages after a checkpoint",
            "in PostgreSQL " + ", ".join(f"{name} {size:,.1f} MB" for name, size in sizes.items()),
        ),
    )


async def _taken(home: Home, url: str, stored: int, rounds: int) -> Mapping[str, list[Stages]]:
    """One turn of each conversation: with the next it is longer."""
    chance = random.Random(_SEED)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        places: dict[str, Place] = {"sqlite": home, "postgres": Postgres(url)}
        contestants = {
            name: stack.enter_context(_contestant(place, Path(folder) / name))
            for name, place in places.items()
        }
        total = stored // TURNS
        for index, number in enumerate(chance.sample(range(total), rounds + _WARM)):
            for contestant in contestants.values():
                conversation = Conversation(number)
                contestant.has(conversation)
                stages = await contestant.turn(conversation)
                if index >= _WARM:
                    contestant.stages.append(stages)
    return {name: contestant.stages for name, contestant in contestants.items()}


@contextmanager
def _contestant(place: Place, folder: Path) -> Iterator[Contestant]:
    folder.mkdir()
    contestant = Contestant(place, place.locks(), folder)
    try:
        yield contestant
    finally:
        contestant.store.close()
        place.close()


def _words(taken: list[Stages]) -> str:
    parts = (
        f"{stage.name} {median(getattr(stages, stage.name) for stages in taken):.2f}"
        for stage in fields(Stages)
    )
    return ", ".join(parts) + " ms (p50)"


def _wal(server: postgres.Postgres) -> tuple[int, int]:
    """Bytes, and images of whole pages."""
    server.execute("SELECT pg_stat_force_next_flush()")
    ((size, images),) = server.execute("SELECT wal_bytes, wal_fpi FROM pg_stat_wal")
    return int(size), int(images)


def _sizes(url: str) -> dict[str, float]:
    """Of each table with its indexes, in MB."""
    asked = """
        SELECT relname, pg_total_relation_size(oid) / 1e6 FROM pg_class
        WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' ORDER BY 2 DESC
    """
    with psycopg.connect(url, row_factory=tuple_row) as db:
        return {name: size for name, size in db.execute(asked, [SCHEMA]) if size > 1}


BENCHMARKS: dict[str, Benchmark] = {"postgres": turns}
