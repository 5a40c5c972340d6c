"""A login at its limit: when to come back, and what the API has told of it (real CLI)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import RateLimitEvent, SystemMessage
from claude_agent_sdk.types import RateLimitInfo

from sessionbridge.claude.cli.answer import AnswerReader
from sessionbridge.claude.cli.limits import limit_headers, plan_windows, seconds_until_reset
from sessionbridge.cli.demo.scripted_api import Failure, Reply
from sessionbridge.errors import ApiFailed
from sessionbridge.plan_windows import PlanWindow
from tests.claude.test_claude_answer import PLAIN, result
from tests.support.bridge_fixtures import House, house
from tests.support.claude_cli import USAGE, Stage, isolated, job, staged

__all__ = ["house"]

UNIFIED = "anthropic-ratelimit-unified-"
LOGIN = {"ANTHROPIC_AUTH_TOKEN": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy"}


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage


async def test_a_login_at_its_limit_is_told_when_that_ends(stage: Stage) -> None:
    reset = int(time.time()) + 7200
    told = {
        "status": "rejected",
        "reset": str(reset),
        "representative-claim": "five_hour",
        "overage-status": "rejected",
        "overage-disabled-reason": "org_level_disabled",
        "5h-status": "rejected",
        "5h-reset": str(reset),
        "5h-utilization": "1.01",
    }
    headers = {UNIFIED + name: value for name, value in told.items()}
    limit = Failure(429, "rate_limit_error", "slow", headers | {"retry-after": "7200"})
    stage.replies = [limit]
    with pytest.raises(ApiFailed) as caught:
        await stage.answer(job("Hi"), extra=stage.extra | LOGIN)
    error = caught.value
    assert (error.status, dict(error.headers)) == (429, headers)
    assert error.retry_after is not None and 7100 <= error.retry_after <= 7200
    assert stage.was_asked(1)


async def test_a_wait_that_is_too_long_is_told_at_once(stage: Stage) -> None:
    stage.replies = [Failure(429, "rate_limit_error", "slow", {"retry-after": "30"})] * 2
    begun = time.monotonic()
    with pytest.raises(ApiFailed, match="first token") as caught:
        await stage.answer(job("Hi", patience=20.0), retries=1)
    assert caught.value.status == 429
    assert caught.value.retry_after is not None and 30 <= caught.value.retry_after <= 38
    assert time.monotonic() - begun < 20


def limited(**raw: Any) -> RateLimitEvent:
    info = RateLimitInfo(raw.get("status", "allowed"), resets_at=raw.get("resetsAt"), raw=raw)
    return RateLimitEvent(info, "e", "s")


def test_only_what_is_known_becomes_a_header() -> None:
    odd = {"five_hour": 1, "new_window": {"status": "x"}, "seven_day": {"resetsAt": None}}
    assert limit_headers(limited()) == ()
    assert limit_headers(limited(unifiedWindows=[1], status="a\r\nb", rateLimitType="ü")) == ()
    assert limit_headers(limited(unifiedWindows=odd, resetsAt=7)) == ((UNIFIED + "reset", "7"),)
    week = {"seven_day": {"utilization": 0.5}}
    assert limit_headers(limited(unifiedWindows=week)) == ((UNIFIED + "7d-utilization", "0.5"),)


def test_a_window_is_what_is_told_of_it() -> None:
    odd = (("7d-utilization", "nan"), ("7d-reset", "-5"), ("status", "allowed"), ("9d-status", "x"))
    told = tuple((UNIFIED + name, value) for name, value in odd)
    assert plan_windows(told, "claude", 7.0) == [
        PlanWindow("claude", "7d", "unknown", None, None, 7.0)
    ]
    assert plan_windows((), "claude", 7.0) == []


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ({"status": "rejected", "resetsAt": 160}, 60),
        ({"status": "rejected", "resetsAt": 90}, 1),
        ({"status": "rejected"}, None),
        ({"status": "allowed_warning", "resetsAt": 160}, None),
    ],
)
def test_the_time_is_that_until_the_reset(raw: dict[str, Any], seconds: int | None) -> None:
    assert seconds_until_reset(limited(**raw), 100.0) == seconds


def reader(patience: float) -> AnswerReader:
    return AnswerReader("session", ["asked"], 0.0, structured=False, patience=patience)


@pytest.mark.parametrize(("status", "told"), [(429, 429), (529, 529), (None, 503), (200, 503)])
def test_a_retry_that_comes_too_late_has_the_status_of_its_cause(
    status: int | None, told: int
) -> None:
    retry = SystemMessage("api_retry", {"retry_delay_ms": 5200, "error_status": status})
    assert reader(6.0).read(retry) == []
    with pytest.raises(ApiFailed) as caught:
        reader(5.0).read(retry)
    assert (caught.value.status, caught.value.retry_after) == (told, 6)


def test_once_something_was_said_a_retry_is_waited_for() -> None:
    reading = reader(0.0)
    assert reading.read(PLAIN[0])
    assert reading.read(SystemMessage("api_retry", {"retry_delay_ms": 5200})) == []


def test_a_limit_is_told_with_a_429_alone() -> None:
    event = limited(status="rejected", resetsAt=int(time.time()) + 60)
    for status, count in ((429, 2), (500, 0)):
        reading = reader(9.0)
        assert reading.read(event) == []
        with pytest.raises(ApiFailed) as caught:
            reading.read(result(is_error=True, api_error_status=status))
        assert len(caught.value.headers) == count
        assert (caught.value.retry_after is None) == (status == 500)


async def test_how_much_of_a_limit_is_used_is_told_with_the_answer(stage: Stage) -> None:
    told = {
        "status": "allowed_warning",
        "reset": str(int(time.time()) + 7200),
        "representative-claim": "five_hour",
        "5h-status": "allowed",
        "5h-reset": str(int(time.time()) + 7200),
        "5h-utilization": "0.91",
    }
    headers = {UNIFIED + name: value for name, value in told.items()}
    stage.replies = [Reply(("Hi",), USAGE, headers=headers)]
    by_login = await stage.answer(job("Hi"), extra=stage.extra | LOGIN)
    assert dict(by_login.finished.limits) == headers
    (window,) = plan_windows(by_login.finished.limits, "work", 1.5)
    resets = float(told["5h-reset"])
    assert window == PlanWindow("work", "5h", "allowed", 0.91, resets, told_at=1.5)
    stage.replies = [Reply(("Hi",), USAGE)]
    assert (await stage.answer(job("Hi"), extra=stage.extra | LOGIN)).finished.limits == ()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_document_has_them_as_headers(house: House, stream: bool) -> None:
    """Those of a stream are sent before the CLI tells them."""
    house.dispatcher.limits = ((UNIFIED + "status", "allowed"),)
    answer = await house.ask("one", stream=stream)
    assert answer.status == 200
    assert answer.headers.get(UNIFIED + "status") == (None if stream else "allowed")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_gets_them_as_headers(house: House, stream: bool) -> None:
    headers = ((UNIFIED + "status", "rejected"),)
    house.dispatcher.fails = ApiFailed(429, "The limit.", retry_after=60, headers=headers)
    answer = await house.ask("one", stream=stream)
    assert answer.status == 429
    assert answer.headers[UNIFIED + "status"] == "rejected"
    assert answer.headers["retry-after"] == "60"
    assert house.dispatcher.jobs[0].patience == 60
