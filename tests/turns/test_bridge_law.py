"""The law: where the client holds the history, the model sees exactly what the client sent."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bridge_fixtures import House, house, housed
from tests.support.scripted_dispatcher import words

__all__ = ["house"]

Talk = list[tuple[str, str]]


class Client:
    """A chat window: holds its messages and sends all of them every time."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.talk: Talk = []
        self.reasons: list[str] = []
        self.asked_with: dict[str, Any] = {}
        """Fields of its next requests, beside what is said."""

    async def send(self, text: str) -> str:
        self.talk.append(("user", text))
        return await self.regenerate()

    async def regenerate(self) -> str:
        """Asks the last message of the user (again)."""
        if self.talk[-1][0] == "assistant":
            self.talk.pop()
        answer = await self.house.ask(self.talk, **self.asked_with)
        job = self.house.dispatcher.jobs[-1]
        assert job.system == self.asked_with.get("system", "")
        assert job.parameters.max_tokens == self.asked_with.get("max_tokens", 9)
        assert words(self.house.dispatcher.seen[-1]) == merged(self.talk)
        self.talk.append(("assistant", answer.text))
        self.reasons.append(answer.headers["x-sessionbridge-reason"])
        return self.reasons[-1]

    async def edit(self, text: str) -> str:
        del self.talk[-2:]
        return await self.send(text)


def merged(talk: Talk) -> Talk:
    runs: Talk = []
    for role, text in talk:
        if runs and runs[-1][0] == role:
            runs[-1] = (role, f"{runs[-1][1]}|{text}")
        else:
            runs.append((role, text))
    return runs


async def test_append_edit_regenerate_branch_back(house: House) -> None:
    client = Client(house)
    assert await client.send("a") == "first_turn"
    assert await client.send("b") == "continued"
    assert await client.send("c") == "continued"
    assert await client.regenerate() == "retried"
    kept = list(client.talk)
    assert await client.edit("d") == "branched"
    assert await client.send("e") == "continued"
    client.talk = kept  # the other branch is still there
    assert await client.send("f") == "continued"
    client.talk = kept[:2]
    assert await client.send("g") == "branched"
    assert len(house.dispatcher.sessions) == 4


@pytest.mark.acceptance(1, 22)
async def test_restart_lost_database_lost_session(house: House) -> None:
    client = Client(house)
    await client.send("a")
    house.restart()
    assert await client.send("b") == "continued"
    house.lose_database()
    assert await client.send("c") == "continued"
    house.lose_everything()
    assert await client.send("d") == "imported"
    assert await client.send("e") == "continued"
    for session in list(house.dispatcher.sessions):
        house.dispatcher.lose(session)
    assert await client.send("f") == "imported"
    assert await client.send("g") == "continued"


async def test_a_lost_session_does_not_come_back(house: House) -> None:
    client = Client(house)
    await client.send("a")
    house.dispatcher.lose(house.dispatcher.jobs[0].session_id)
    await client.send("b")
    jobs = len(house.dispatcher.jobs)
    assert jobs == 3  # the lost one, then once more without it
    await client.send("c")
    assert len(house.dispatcher.jobs) == jobs + 1


async def test_altered_dropped_and_added_messages(house: House) -> None:
    client = Client(house)
    await client.send("a")
    await client.send("b")
    client.talk[1] = ("assistant", "not what was said")
    assert await client.send("c") == "imported"
    del client.talk[0:2]
    assert await client.send("d") == "imported"
    client.talk += [("user", "context"), ("assistant", "noted")]
    assert await client.send("e") == "imported"
    client.talk.append(("user", "one"))
    assert await client.send("two") == "continued"


async def test_a_context_message_that_is_left_out_of_the_next_turn(house: House) -> None:
    client = Client(house)
    for text in ("a", "b", "c"):
        client.talk.append(("user", text))
        answer = await house.ask([*client.talk, ("user", "the time is now")])
        assert words(house.dispatcher.seen[-1]) == merged(
            [*client.talk, ("user", "the time is now")]
        )
        client.talk.append(("assistant", answer.text))


async def test_aborted_and_failed_turns_leave_the_conversation_where_it_was(house: House) -> None:
    client = Client(house)
    await client.send("a")
    house.dispatcher.gate = asyncio.Event()
    aborted = asyncio.create_task(house.ask([*client.talk, ("user", "b")]))
    await house.dispatcher.waiting.wait()
    aborted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await aborted
    house.dispatcher.gate = None
    house.dispatcher.breaks = RuntimeError()
    assert (await house.ask([*client.talk, ("user", "c")])).status == 500
    house.dispatcher.breaks = None
    assert await client.send("d") == "continued"


async def test_two_tabs_with_the_same_first_words(house: House) -> None:
    one, two = Client(house), Client(house)
    await asyncio.gather(one.house.ask("hi"), two.house.ask("hi"))
    for client in (one, two):
        client.talk = [("user", "hi"), ("assistant", "1: hi")]
    await one.send("x")
    await two.send("y")
    await two.send("z")
    await one.send("w")


STEPS = st.sampled_from(
    [
        "append",
        "append",
        "edit",
        "regenerate",
        "branch",
        "abort",
        "restart",
        "forget",
        "lose",
        "all",
    ]
)


MINUTES = [f"You are told the time: 12:0{minute}" for minute in range(3)]
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "system": st.sampled_from(["Be kind.", *MINUTES]),
        "max_tokens": st.sampled_from([9, 10, 500]),
        "tools": st.sampled_from([[], [{"name": "look", "input_schema": {"type": "object"}}]]),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STEPS, st.sampled_from("ab"), st.integers(0, 5), ASKED), max_size=12))
def test_the_law_on_random_walks(steps: list[tuple[str, str, int, dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(_walk(Path(home), steps))


async def _walk(home: Path, steps: list[tuple[str, str, int, dict[str, Any]]]) -> None:
    async with housed(home) as house:
        client = Client(house)
        await client.send("a")
        for step, text, number, client.asked_with in steps:
            await _take(client, step, text, number)


async def _take(client: Client, step: str, text: str, number: int) -> Any:
    house = client.house
    match step:
        case "append":
            await client.send(text)
        case "edit":
            await client.edit(text)
        case "regenerate":
            await client.regenerate()
        case "branch":
            client.talk = client.talk[: 2 * (number + 1)]
            await client.send(text)
        case "abort":
            house.dispatcher.breaks = RuntimeError()
            await house.ask([*client.talk, ("user", text)])
            house.dispatcher.breaks = None
        case "restart":
            house.restart()
        case "forget":
            house.lose_database()
        case "lose":
            for session in list(house.dispatcher.sessions)[number:]:
                house.dispatcher.lose(session)
