"""Which spares are started, taken and ended, with processes that are none."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.job import Job, Settings
from sessionbridge.claude.pool.pool import Pool
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.model import MemoryKind, Parameters
from tests.support.claude_cli import MODEL, nothing_else_runs, until
from tests.support.stand_in_processes import (
    LONG,
    begin,
    cli,
    ended,
    fail,
    first_turn,
    pool_of,
    process,
)


class Spawns:
    """Starts stand-ins, no sooner than they may."""

    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.fails_with: Exception | None = None
        self.begun: list[MemoryKind] = []
        self.given_up = 0
        self.has_login = True
        self.made: list[LiveProcess] = []

    async def __call__(self, memory: MemoryKind) -> LiveProcess:
        self.begun.append(memory)
        try:
            await self.may_start.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.fails_with:
            raise self.fails_with
        self.made.append(process(f"spare {len(self.made)}", memory, None))
        cli(self.made[-1]).has_login = self.has_login
        return self.made[-1]

    def have_made(self, count: int) -> bool:
        return len(self.made) == count

    def running(self) -> list[LiveProcess]:
        return [live for live in self.made if live.cli.alive]


@pytest.fixture
def spawns() -> Spawns:
    return Spawns()


def spares(spawns: Spawns, size: int = 1, **how: Any) -> Pool:
    return pool_of(9, spare=size, spawn=spawns, **how)


def new(memory: MemoryKind = "session", **changes: Any) -> Job:
    return replace(first_turn(process(memory=memory)), **changes)


async def take(pool: Pool) -> LiveProcess:
    return await pool.acquire(new(), "spare")


async def filled(pool: Pool, spawns: Spawns, count: int, memory: MemoryKind = "session") -> None:
    pool.fill(memory)
    await until(partial(spawns.have_made, count))
    await settled(pool)


async def settled(pool: Pool) -> None:
    """No spare is being started."""
    await until(lambda: pool._filling is None or pool._filling.done())


async def test_a_spare_is_for_any_settings(spawns: Spawns) -> None:
    ahead = spares(spawns)
    assert not ahead.has_spare(new())
    await filled(ahead, spawns, 1)
    assert ahead.has_spare(new())
    assert not ahead.has_spare(new("none"))
    other = new(model="claude-opus-4-5", system="Be long.", compaction=True)
    assert await ahead.acquire(other, "spare") is spawns.made[0]  # each is taken once
    await filled(ahead, spawns, 2)
    await ahead.close()
    assert [ended(live) for live in spawns.made] == [None, "finished"]  # one is whose took it


async def test_the_next_takes_the_place_of_one_that_was_taken(spawns: Spawns) -> None:
    ahead = spares(spawns, 2)
    await filled(ahead, spawns, 2)
    assert await take(ahead) is spawns.made[0]
    await until(partial(spawns.have_made, 3))
    assert ahead.counts == (1, 2)
    await ahead.close()


async def test_a_model_whose_cli_takes_no_settings_has_no_spare(spawns: Spawns) -> None:
    ahead = spares(spawns)
    await filled(ahead, spawns, 1)
    ahead.fixed_models.add(MODEL)
    assert not ahead.has_spare(new())
    assert ahead.has_spare(new(model="claude-opus-4-5"))
    await ahead.close()


async def test_all_but_one_have_begun_which_is_for_an_answers_schema(spawns: Spawns) -> None:
    ahead = spares(spawns, 3)
    await filled(ahead, spawns, 3)
    assert [live.settings is None for live in spawns.made] == [False, False, True]
    structured = new(parameters=Parameters(schema={}))
    assert await ahead.acquire(structured, "spare") is spawns.made[2]
    assert not ahead.has_spare(structured)
    await until(partial(spawns.have_made, 4))
    await settled(ahead)
    assert ahead.has_spare(structured)
    assert await take(ahead) is spawns.made[0]
    await until(partial(spawns.have_made, 5))
    await settled(ahead)
    assert [live.settings is None for live in spawns.made[3:]] == [True, False]
    await ahead.close()


async def test_they_begin_as_the_newest_conversation_did(spawns: Spawns) -> None:
    ahead = spares(spawns)
    await filled(ahead, spawns, 1)
    newest = new(model="claude-opus-4-5", parameters=Parameters(max_tokens=9, effort="low"))
    await ahead.acquire(newest, "spare")
    await until(partial(spawns.have_made, 2))
    begun = [live.settings for live in spawns.made]
    assert begun == [Settings("default"), Settings("claude-opus-4-5", "", (), "low", 9)]
    await ahead.close()


async def test_they_are_started_one_after_the_other(spawns: Spawns) -> None:
    spawns.may_start.clear()
    ahead = spares(spawns, 3)
    ahead.fill()
    await until(lambda: spawns.begun)
    assert ahead.counts == (0, 1)
    spawns.may_start.set()
    await until(partial(spawns.have_made, 3))
    await settled(ahead)
    assert spawns.begun == ["session"] * 3
    await ahead.close()


@pytest.mark.parametrize(("size", "room"), [(0, True), (1, False)], ids=["none wanted", "no room"])
async def test_no_spare_is_started(spawns: Spawns, size: int, room: bool) -> None:
    ahead = spares(spawns, size, room=lambda: room)
    ahead.fill()
    await settled(ahead)
    assert not ahead.has_spare(new())
    assert spawns.begun == []
    await ahead.close()


async def test_the_oldest_makes_room_for_one_with_another_memory(spawns: Spawns) -> None:
    ahead = spares(spawns, 2)
    await filled(ahead, spawns, 2)
    await filled(ahead, spawns, 3, "none")
    assert spawns.begun == ["session", "session", "none"]
    await until(lambda: len(spawns.running()) == 2)
    assert ended(spawns.made[0]) == "finished"
    assert ahead.has_spare(new()) and ahead.has_spare(new("none"))
    await ahead.close()


async def test_they_give_way_where_memory_is_short(
    spawns: Spawns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, and also while nobody asks for anything."""
    monkeypatch.setattr("sessionbridge.claude.pool.pool._MEMORY_CHECKED", 0.01)
    room = [True]
    ahead = spares(spawns, 2, room=lambda: room[0])
    await filled(ahead, spawns, 2)
    room[0] = False
    await until(lambda: spawns.running() == [])
    assert not ahead.has_spare(new())
    await ahead.close()


async def test_one_gives_way_to_a_process_that_is_started(spawns: Spawns) -> None:
    room = [True]
    ahead = spares(spawns, 2, room=lambda: room[0])
    await filled(ahead, spawns, 2)
    room[0] = False
    await begin(ahead, process("S"))
    await until(lambda: len(spawns.running()) == 1)
    await ahead.close()


async def test_none_is_started_beside_turns_that_come_and_go(spawns: Spawns) -> None:
    ahead = spares(spawns, quiet=LONG)
    begun = first_turn(process("S"))
    await begin(ahead, process("S"), begun)
    assert not nothing_else_runs()
    assert spawns.begun == []
    await ahead.close()
    await until(nothing_else_runs)


async def test_one_is_started_once_it_is_quiet(spawns: Spawns) -> None:
    ahead = spares(spawns, quiet=0.01)
    await begin(ahead, process("S"))
    await until(partial(spawns.have_made, 1))
    await ahead.close()


async def test_one_is_started_though_it_is_never_quiet(
    spawns: Spawns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionbridge.claude.pool.pool._LONGEST_UNREST", 0.01)
    ahead = spares(spawns, quiet=LONG)
    await begin(ahead, process("S"))
    await until(partial(spawns.have_made, 1))
    await ahead.close()


async def test_a_spare_that_died_is_not_used_and_another_is_started(spawns: Spawns) -> None:
    ahead = spares(spawns)
    await filled(ahead, spawns, 1)
    fail(spawns.made[0])
    assert not ahead.has_spare(new())
    await filled(ahead, spawns, 2)
    assert await take(ahead) is spawns.made[1]
    await ahead.close()


async def test_one_whose_taker_leaves_is_replaced(spawns: Spawns) -> None:
    spawns.may_start.clear()
    ahead = spares(spawns, 2)
    ahead.fill()
    await until(lambda: spawns.begun)
    taking = asyncio.create_task(take(ahead))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    spawns.may_start.set()
    await until(lambda: ahead.counts == (0, 2))
    await settled(ahead)
    assert spawns.given_up == 1
    await ahead.close()


async def test_those_that_gave_way_come_back(
    spawns: Spawns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionbridge.claude.pool.pool._MEMORY_CHECKED", 0.01)
    room = [True]
    ahead = spares(spawns, 2, room=lambda: room[0])
    await filled(ahead, spawns, 2)
    room[0] = False
    await until(lambda: spawns.running() == [])
    room[0] = True
    await until(lambda: len(spawns.running()) == 2)
    await ahead.close()


async def test_none_begins_before_there_is_a_login(spawns: Spawns) -> None:
    spawns.has_login = False
    ahead = spares(spawns, 2)
    ahead.fill()
    await until(partial(spawns.have_made, 3))
    await settled(ahead)
    assert [live.settings is None for live in spawns.made] == [False, True, True]
    assert ended(spawns.made[0]) == "finished"
    spawns.has_login = ahead.begins_ahead = True  # as a turn has found
    await take(ahead)
    await until(partial(spawns.have_made, 4))
    await settled(ahead)
    assert spawns.made[3].settings is not None
    await ahead.close()


async def test_whoever_takes_a_spare_waits_until_it_has_started(spawns: Spawns) -> None:
    spawns.may_start.clear()
    ahead = spares(spawns)
    ahead.fill()
    await until(lambda: spawns.begun)
    assert ahead.has_spare(new())
    taking = asyncio.create_task(take(ahead))
    await asyncio.wait([taking], timeout=0)
    assert not taking.done()
    spawns.may_start.set()
    assert await taking is spawns.made[0]
    await ahead.close()


@pytest.mark.parametrize("started", [False, True], ids=["while it starts", "as it has started"])
async def test_a_spare_that_nobody_waits_for_any_more_ends(spawns: Spawns, started: bool) -> None:
    spawns.may_start.clear()
    ahead = spares(spawns)
    ahead.fill()
    await until(lambda: spawns.begun)
    taking = asyncio.create_task(take(ahead))
    await asyncio.sleep(0)
    if started:
        spawns.may_start.set()
        while not spawns.made:  # noqa: ASYNC110  `until` might miss that very moment
            await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    assert taking.cancelled()
    await ahead.close()
    # Where it was given up, the next may have been begun, which closing gives up too.
    assert spawns.given_up in ((0,) if started else (1, 2))
    assert spawns.running() == []
    assert nothing_else_runs()


FAILURES = [
    ClaudeFailed("The Claude CLI was not found."),
    ApiFailed(529, "Overloaded."),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_spare_that_fails_to_start_leaves_its_taker_to_another_way(
    spawns: Spawns, failure: Exception
) -> None:
    spawns.may_start.clear()
    spawns.fails_with = failure
    ahead = spares(spawns)
    ahead.fill()
    await until(lambda: spawns.begun)
    taking = asyncio.create_task(take(ahead))
    await asyncio.sleep(0)
    spawns.may_start.set()
    with pytest.raises(ClaudeFailed):
        await taking
    await ahead.close()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_spare_that_failed_to_start_is_told_once_and_not_used(
    spawns: Spawns, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    spawns.fails_with = failure
    ahead = spares(spawns)
    ahead.fill()
    await settled(ahead)
    assert not ahead.has_spare(new())
    spawns.fails_with = None
    await filled(ahead, spawns, 1)
    assert await take(ahead) is spawns.made[0]
    await ahead.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_fault_of_ours_is_told_by_its_kind_alone(
    spawns: Spawns, caplog: pytest.LogCaptureFixture
) -> None:
    spawns.fails_with = ValueError("words of the conversation")
    ahead = spares(spawns)
    ahead.fill()
    await settled(ahead)
    assert caplog.messages == ["a spare process was not started: ValueError"]
    await ahead.close()


async def test_closing_ends_all_spares_and_none_is_started_after(spawns: Spawns) -> None:
    ahead = spares(spawns, size=2)
    await filled(ahead, spawns, 2)
    await take(ahead)
    spawns.may_start.clear()
    await until(lambda: len(spawns.begun) == 3)
    await ahead.close()
    assert (spawns.given_up, ended(spawns.made[1])) == (1, "finished")
    spawns.may_start.set()
    ahead.fill()
    assert not ahead.has_spare(new())
    assert nothing_else_runs()


async def test_killing_ends_all_spares_at_once_and_none_is_started_after(spawns: Spawns) -> None:
    ahead = spares(spawns, size=2)
    await filled(ahead, spawns, 2)
    cli(spawns.made[0]).may_finish.clear()
    await filled(ahead, spawns, 3, "none")  # there is no room for the first any more
    assert ended(spawns.made[0]) is None
    ahead.kill()
    assert [ended(live) for live in spawns.made] == ["killed"] * 3
    ahead.fill()
    assert not ahead.has_spare(new())
    cli(spawns.made[0]).may_finish.set()
    await ahead.close()
