"""What remembering costs: a turn's plan and commit in a small and a large database, the plan of a
very long conversation, and many processes that write one file at once."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.figures import Benchmark, Figure, Options, median, percentile
from scripts.benchmarks.filling import PROVIDER, TURNS, Conversation, fill, said
from scripts.benchmarks.writers import writers
from sessionbridge.errors import SessionLost
from sessionbridge.model import Attempt, Finished, History, Message, Origin, Plan, Usage
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.manner import manner
from sessionbridge.sessions.planning.memory import Answered, Remembered
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store_thread import StoreThread

SMALL, LARGE = 1_000, 100_000
TURN_MS = 3.0
FLAT = 1.5
LONG = 2_000
LONG_MS = 20.0
_SAMPLES, _LEAST = 180, 20
_WARM = 10
_SEED = 7
_LONG_ONE = Origin("bench", "long", "conversation", "client")


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds for each turn, by who keeps the history."""

    client: list[float]
    server: list[float]

    def of(self, history: History) -> list[float]:
        return self.server if history == "server" else self.client

    def words(self) -> str:
        p50, p99 = percentile(self.client, 50), percentile(self.client, 99)
        words = f"p50 {p50:.2f}, p99 {p99:.2f} ms"
        if self.server:
            words += f"; where the history is kept here p50 {percentile(self.server, 50):.2f} ms"
        return words


def turns(options: Options) -> Iterable[Figure]:
    yield from measure_turns(options, SMALL, LARGE)


def measure_turns(options: Options, small: int, large: int) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        files = {size: Home(Path(folder) / str(size)).database for size in (small, large)}
        begun = time.perf_counter()
        for size, path in files.items():
            fill(path, size, options.say)
        filled = time.perf_counter() - begun
        found = asyncio.run(_times(files, max(_LEAST, options.rounds_or(_SAMPLES))))
    p50, p99 = (percentile(found[large].client, percent) for percent in (50, 99))
    ratio = p50 / percentile(found[small].client, 50)
    yield Figure(
        f"plan and commit with {large:,} turns in the database",
        {"p50_ms": p50, "p99_ms": p99},
        f"p50 ≤ {TURN_MS:g} ms",
        p50 <= TURN_MS,
        (
            f"{len(found[large].client)} conversations of {2 * TURNS} messages, each in its next "
            "turn, through the store's thread",
            *(f"with {size:,} turns: {times.words()}" for size, times in found.items()),
            f"the databases were made in {filled:.0f} s",
        ),
    )
    yield Figure(
        f"plan and commit, {large // TURNS:,} sessions against {small // TURNS:,}",
        {"p50_ratio": ratio},
        f"ratio ≤ {FLAT:g}",
        ratio <= FLAT,
        ("measured in turn, so that what else the machine does meets both alike",),
    )


async def _times(files: Mapping[int, Path], samples: int) -> dict[int, Times]:
    """By the size of the database. One turn of each conversation: with the next it is longer."""
    wanted = min(samples + _WARM, *(size // TURNS for size in files))
    chance = random.Random(_SEED)
    chosen = {size: chance.sample(range(size // TURNS), wanted) for size in files}
    found = {size: Times([], []) for size in files}
    async with AsyncExitStack() as stack:
        stores = {
            size: await stack.enter_async_context(_store(path)) for size, path in files.items()
        }
        for index in range(wanted):
            for size, store in stores.items():
                conversation = Conversation(chosen[size][index])
                taken = await _turn(store, conversation)
                if index >= _WARM:
                    found[size].of(conversation.history).append(taken)
    return found


async def _turn(store: StoreThread, conversation: Conversation) -> float:
    ask = said("user", f"And now, {conversation.number}?")
    resends = conversation.history == "client"
    links = chain([*(conversation.messages() if resends else []), ask])
    begun = time.perf_counter()
    memory = remembered(store, conversation.origin, links)
    plan = await memory.plan()
    await memory.begin(plan)
    turn = await memory.commit(answered(plan, conversation.session))
    taken = (time.perf_counter() - begun) * 1000
    if plan.name != "resume" or plan.feed or turn is None:
        raise RuntimeError(f"{conversation.key} was not known: {plan.name} ({plan.reason})")
    return taken


def planning(options: Options) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "session_map.db"
        yield asyncio.run(_planning(path, options.rounds_or(40), LONG))


async def _planning(path: Path, rounds: int, length: int) -> Figure:
    """The conversation's last turn is known, so that it is continued: so is every turn but one."""
    before = [
        said(("user", "assistant")[n % 2], f"message {n} {'lorem ipsum ' * 20}")
        for n in range(length - 1)
    ]
    now = [*before, said("assistant", "answer"), said("user", "And now?")]
    async with _store(path) as store:
        memory = remembered(store, _LONG_ONE, chain(before))
        await memory.commit(answered(await memory.plan(), "long-session"))
        taken = [await _planned(store, now) for _ in range(rounds)]
    chained, planned, worked = zip(*taken, strict=True)
    whole = [sum(times[:2]) for times in taken]
    p50 = percentile(whole, 50)
    return Figure(
        f"planning a history of {length:,} messages",
        {"p50_ms": p50, "p99_ms": percentile(whole, 99)},
        f"p50 < {LONG_MS:g} ms",
        p50 < LONG_MS,
        (
            f"chain of hashes {median(chained):.1f} ms, look-up and plan {median(planned):.1f} ms; "
            f"processor time of both {median(worked):.1f} ms",
            f"each message of {len(before[0].blocks[0]['text'])} characters",
        ),
    )


async def _planned(store: StoreThread, now: Sequence[Message]) -> tuple[float, float, float]:
    """Milliseconds for the chain, and for look-up and plan; the processor's for both."""
    worked, begun = time.process_time(), time.perf_counter()
    links = chain(now)
    between = time.perf_counter()
    plan = await remembered(store, _LONG_ONE, links).plan()
    end = time.perf_counter()
    worked = time.process_time() - worked
    if plan.reason != "continued":
        raise RuntimeError(f"the long conversation was not known: {plan.reason}")
    return (between - begun) * 1000, (end - between) * 1000, worked * 1000


@asynccontextmanager
async def _store(path: Path) -> AsyncIterator[StoreThread]:
    store = StoreThread(Home(path.parent))
    try:
        yield store
    finally:
        store.close()


def remembered(store: StoreThread, origin: Origin, links: Sequence[Link]) -> Remembered:
    how = manner("", (), "sonnet", links)
    return Remembered(
        store, origin, PROVIDER, links, Attempt(), how, refuse_loss=False, said=_unknown
    )


async def _unknown(session: str, upto: str, after: str | None) -> Sequence[Message]:
    raise SessionLost("There are no transcripts here.")


def answered(plan: Plan, session: str) -> Answered:
    entries = tuple(f"entry-{n}-{session}" for n in range(len(plan.feed) + 2))
    return Answered(
        plan=plan,
        base=plan.base,
        shown=(*plan.feed, plan.ask),
        finished=Finished(session, entries, "end_turn", Usage(1, 2, 3, 4), 0.1),
        answer=Message("assistant", ({"type": "text", "text": "answer"},)),
        api="messages",
        model="claude-sonnet-5",
        process="new",
        response_id="msg_1",
        started_at=time.time(),
        ttft_ms=300,
        duration_ms=900,
        location={"cwd": "work", "config_dir": "config"},
    )


BENCHMARKS: dict[str, Benchmark] = {"store": turns, "planning": planning, "writers": writers}
