"""A CLI that misbehaves, as a real process: its failures become ours and nothing is left over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from claude_agent_sdk import ClaudeAgentOptions

from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.tools.client_tools import ClientTools
from sessionbridge.errors import ClaudeFailed, FeedRefused, SessionLost, TooManyFiles
from sessionbridge.model import TextDelta
from sessionbridge.proxy.library_logs import leave_words_out
from tests.support.claude_cli import (
    Answer,
    answer,
    children,
    fake_cli,
    isolated,
    job,
    nothing_else_runs,
    profile,
    say,
    until,
)


class Fake:
    """The fake CLI in each of its moods."""

    def __init__(self, tmp_path: Path, inherited: dict[str, str]) -> None:
        self._tmp_path, self._inherited = tmp_path, inherited
        self._program = fake_cli(tmp_path)

    def dispatcher(self, mode: str) -> ClaudeDispatcher:
        extra = {"FAKE_CLI": mode}
        return ClaudeDispatcher(
            profile(self._tmp_path, self._inherited, cli=self._program, extra=extra)
        )

    async def answer(self, mode: str) -> Answer:
        return await answer(self.dispatcher(mode), job("Hi"))

    async def process(self, mode: str) -> CliProcess:
        process = CliProcess(
            ClaudeAgentOptions(cli_path=self._program, env={"FAKE_CLI": mode}, cwd=self._tmp_path),
            ClientTools(),
        )
        await process.begin({})
        return process


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    yield Fake(tmp_path, isolated(monkeypatch, tmp_path))
    assert children() == []


@pytest.mark.parametrize("mode", ["answer", "noise", "unknown", "split"])
async def test_odd_output_does_not_disturb_an_answer(fake: Fake, mode: str) -> None:
    got = await fake.answer(mode)
    assert got.text == "Hello there"
    assert got.tip == "answer"


async def test_a_line_of_megabytes_is_read(fake: Fake) -> None:
    assert len((await fake.answer("long_line")).text) == len("Hello there") + 3_000_000


async def test_the_session_the_cli_names_is_the_one_to_store(fake: Fake) -> None:
    assert (await fake.answer("another_session")).session_id.startswith("11111111")


async def test_a_cli_without_file_descriptors_is_not_to_blame(fake: Fake) -> None:
    with pytest.raises(TooManyFiles, match="ulimit -n"):
        await fake.answer("no_files")


@pytest.mark.acceptance(20)
@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("garbage", "printed something that is not JSON"),
        ("endless_line", "printed a line that is longer than the bridge reads"),
        ("exit_3", r"ended by itself \(exit code 3\)"),
        ("exit_0", r"ended by itself \(exit code 0\)"),
        ("empty", "without asking the model"),
    ],
)
async def test_a_broken_answer_is_a_failure(
    fake: Fake, mode: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave_words_out()
    with pytest.raises(ClaudeFailed, match=sentence) as caught:
        await fake.answer(mode)
    logged = caplog.text + caught.value.message
    assert "private words" not in logged
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.acceptance(21)
@pytest.mark.parametrize(
    ("name", "mode", "sentence"),
    [
        ("absent", None, "was not found at"),
        ("folder", None, "could not be run"),
        ("not-executable", 0o644, r"could not be run \(Permission denied\)"),
        ("not-a-program", 0o755, r"could not be run \(Exec format error\)"),
    ],
)
async def test_a_cli_that_cannot_be_run_is_named(
    fake: Fake, tmp_path: Path, name: str, mode: int | None, sentence: str
) -> None:
    program = tmp_path / name
    if name == "folder":
        program.mkdir()
    elif mode is not None:
        program.write_text("nothing")
        program.chmod(mode)
    with pytest.raises(ClaudeFailed, match=sentence) as caught:
        await answer(ClaudeDispatcher(profile(tmp_path, {}, cli=program)), job("Hi"))
    assert caught.value.status == 502
    assert str(program) in caught.value.message


async def test_a_cli_too_old_to_take_prompts_verbatim_is_not_asked(fake: Fake) -> None:
    with pytest.raises(ClaudeFailed, match=r"2\.1\.256.* install 2\.1\.257 or newer"):
        await fake.answer("old")


@pytest.mark.parametrize("code", [0, 3])
async def test_a_cli_that_leaves_at_once_is_not_waited_for(
    fake: Fake, tmp_path: Path, code: int
) -> None:
    program = tmp_path / "leaves"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    async with asyncio.timeout(2):
        with pytest.raises(ClaudeFailed):
            await answer(ClaudeDispatcher(profile(tmp_path, {}, cli=program)), job("Hi"))


async def test_a_session_refused_before_it_was_asked_is_lost(fake: Fake) -> None:
    """The CLI may be gone before the question is written to it."""
    process = await fake.process("refuses")
    try:
        await until(lambda: not children())
        with pytest.raises(SessionLost):
            await process.ask(say("Hi"))
    finally:
        await process.kill()


async def test_a_message_it_answers_instead_of_taking_over_is_a_failure(fake: Fake) -> None:
    process = await fake.process("feeds_fail")
    try:
        await process.feed(say("before"))
        await process.ask(say("a question whose answer the next message would take for its own"))
        with pytest.raises(ClaudeFailed, match="did not take over"):
            await process.feed(say("before"))
    finally:
        await process.kill()


async def test_a_message_it_asks_the_model_about_is_not_waited_for(fake: Fake) -> None:
    process = await fake.process("answers_all")
    try:
        with pytest.raises(FeedRefused):
            await process.feed(say("before"))
    finally:
        await process.kill()


async def test_a_session_refused_while_it_is_fed_is_lost(fake: Fake) -> None:
    process = await fake.process("loses_fed")
    try:
        with pytest.raises(SessionLost):
            await process.feed(say("before"))
    finally:
        await process.kill()


@pytest.mark.parametrize("mode", ["hang", "flood", "garbage"])
async def test_leaving_in_mid_answer_leaves_no_process(fake: Fake, mode: str) -> None:
    """It ignores SIGTERM and the end of its input, or has more to say than anyone reads."""
    deltas = fake.dispatcher(mode).run(job("Hi"))
    async with aclosing(deltas):
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                break
        await asyncio.sleep(0.1 if mode == "flood" else 0)  # until its pipe is full
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert children() == []


@pytest.mark.parametrize("mode", ["mute", "deaf", "hang"])
@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_cancelled_turn_leaves_no_process(fake: Fake, mode: str, cancels: int) -> None:
    """In the handshake, in writing 20 MB that are not read, and in mid-answer."""
    words = "x" * 20_000_000 if mode == "deaf" else "Hi"
    task = asyncio.create_task(answer(fake.dispatcher(mode), job(words)))
    await until(children)
    await asyncio.sleep(0.3)
    began = time.monotonic()
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not children())
    assert time.monotonic() - began < 2
    await until(nothing_else_runs)


async def test_a_turn_cancelled_at_any_moment_leaves_no_process(fake: Fake) -> None:
    for step in range(12):
        task = asyncio.create_task(fake.answer("answer"))
        done, _ = await asyncio.wait([task], timeout=step * 0.02)
        task.cancel()
        if not done:
            await asyncio.wait([task])
        await until(lambda: not children())
    await until(nothing_else_runs)


async def test_a_cli_that_does_not_end_is_ended(fake: Fake) -> None:
    began = time.monotonic()
    assert (await fake.answer("stays")).text == "Hello there"
    assert children() == []
    assert time.monotonic() - began < 5


async def test_ending_it_twice_does_no_harm(fake: Fake) -> None:
    process = await fake.process("hang")
    await asyncio.gather(process.kill(), process.kill())
    await process.kill()
    await process.finish()
    assert children() == []


async def test_a_process_that_was_never_started_can_be_ended(fake: Fake) -> None:
    for end in (CliProcess.kill, CliProcess.finish):
        await end(CliProcess(ClaudeAgentOptions(), ClientTools()))


@pytest.mark.parametrize("value", ["soon", "60000"])
async def test_the_drivers_own_environment_cannot_make_it_leak(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """A timeout that is no number fails between starting the CLI and talking to it."""
    monkeypatch.setenv("CLAUDE_CODE_STREAM_CLOSE_TIMEOUT", value)
    if value == "soon":
        with pytest.raises(ClaudeFailed, match="ValueError"):
            await fake.answer("hang")
    else:
        assert (await fake.answer("answer")).text == "Hello there"
