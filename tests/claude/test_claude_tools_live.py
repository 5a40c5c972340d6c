"""When the process that waits for results takes them, and when it only takes up room."""

from __future__ import annotations

from dataclasses import replace

from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.pool import Pool
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.model import Message, Parameters, Plan, Point
from tests.support.claude_cli import USAGE, Stage, answer, say
from tests.support.live_processes import kind, serving, stage
from tests.support.stand_in_processes import (
    a_turn,
    asking,
    begin,
    done,
    ended,
    pool_of,
    process,
)
from tests.support.tool_rounds import (
    LOOK,
    OTHER,
    calling,
    found,
    offering,
    returning,
    said,
    shown,
    text,
    use,
)

__all__ = ["stage"]

DONE = Reply(("Done.",), USAGE)
ONE_WAY, OTHER_WAY = Parameters(tools=(OTHER, LOOK)), Parameters(tools=(LOOK, OTHER))


async def test_the_tools_may_come_in_another_order(stage: Stage) -> None:
    """Some clients keep them in a table without one; the model sees no difference."""
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [calling(use("toolu_1")), DONE, DONE]
        waits = await answer(dispatcher, offering("Look", ONE_WAY))
        took = await answer(dispatcher, returning(waits, found("toolu_1"), parameters=OTHER_WAY))
        thanks = offering("Thanks", ONE_WAY, name="resume", after=took)
        assert [kind(took), kind(await answer(dispatcher, thanks))] == ["live", "live"]
        for order in (ONE_WAY, OTHER_WAY):
            await stage.answer(offering("Look", order))
    assert shown(stage)[-1:] == said("user", text("Look"))
    assert len({str(call.body["tools"]) for call in stage.api.calls}) == 1


def test_other_tools_are_other_settings() -> None:
    job = offering("Look", ONE_WAY)
    assert job.settings == replace(job, parameters=OTHER_WAY).settings
    assert job.settings != replace(job, parameters=Parameters(tools=(LOOK,))).settings
    described = replace(OTHER, description="Does it in another way.")
    assert job.settings != replace(job, parameters=Parameters(tools=(LOOK, described))).settings


def bringing(live: LiveProcess, content: str) -> Job:
    """Results of its one call; what is empty no open call can return."""
    base = Point("hash", live.session_id, str(live.tip), 1, is_tip=True, is_open=True)
    plan = Plan("resume", "tool_results", base, (), Message("user", (found("a", content),)))
    return asking(live, plan)


def waiting(session: str, call: str = "a") -> LiveProcess:
    live = process(session)
    live.waits_for = frozenset({call})
    return live


async def parked(pool: Pool, *processes: LiveProcess) -> None:
    for live in processes:
        await a_turn(pool, live)


async def elsewhere(pool: Pool, job: Job) -> None:
    """A turn of the job that another process has had."""
    other = process("elsewhere")
    await begin(pool, other, replace(job, session_id="elsewhere"))
    await pool.release(other, done(other))


async def test_a_process_whose_results_went_elsewhere_is_let_go() -> None:
    pool = pool_of(5)
    idle, open_turn, passed_over = process("idle"), waiting("open", "b"), waiting("passed over")
    await parked(pool, idle, open_turn, passed_over)
    job = bringing(passed_over, "")
    assert not pool.holds(job)
    await elsewhere(pool, replace(job, system="A side call that resends the history."))
    assert pool.counts == (4, 0)
    await elsewhere(pool, job)
    await pool.leave("passed over")
    assert [ended(live) for live in (idle, open_turn, passed_over)] == [None, None, "killed"]


async def test_a_process_that_can_take_results_after_all_is_kept_as_before() -> None:
    pool = pool_of(2)
    idle, open_turn = process("idle"), waiting("open")
    await parked(pool, idle, open_turn)
    assert not pool.holds(bringing(open_turn, ""))
    assert pool.holds(bringing(open_turn, "It is here"))
    await parked(pool, process("new"))
    await pool.leave("idle")
    assert [ended(live) for live in (idle, open_turn)] == ["finished", None]


async def test_another_message_does_not_take_the_place_of_one_in_mid_turn() -> None:
    pool = pool_of(2)
    idle, open_turn = process("idle"), waiting("open")
    await parked(pool, idle, open_turn)
    brought = bringing(open_turn, "It is here")
    assert brought.plan.base is not None
    base = replace(brought.plan.base, is_open=False)
    assert not pool.holds(replace(brought, plan=replace(brought.plan, base=base, ask=say("Well?"))))
    await parked(pool, process("new"))
    await pool.leave("idle")
    assert [ended(live) for live in (idle, open_turn)] == ["finished", None]
