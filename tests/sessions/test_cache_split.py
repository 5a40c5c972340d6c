"""What is written to the cache for an hour costs more than what is written for five minutes: told
by the API, kept in the ledger, priced and shown."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from genai_prices.types import ModelPrice
from sqlite_utils import Database

from sessionbridge.claude import prices
from sessionbridge.claude.prices import cache_rates, list_price
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.cli.demo.scripted_api import Usage as ScriptedUsage
from sessionbridge.cli.main import cli
from sessionbridge.dashboard.metrics import Errors, exposition
from sessionbridge.model import Parameters, Usage
from sessionbridge.proxy.page_text import answer_page
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.sqlite.migrations import migrations
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.traffic.reading import read as read_traffic
from tests.claude.test_claude_answer import block, event, finished, result, said, start, stop, text
from tests.support.claude_cli import Stage, job
from tests.support.dashboard_fixtures import IDLE, Watched, watched
from tests.support.live_processes import stage
from tests.support.turn_records import KEY, turn

__all__ = ["stage", "watched"]

MODEL = "claude-sonnet-5"
"""2 dollars a million tokens of input, 10 of output, 0.2 read; 2.5 or 4 written."""

LOGIN = Usage(0, 200, 100_000, 50_000, 100_000)
SCRIPTED = ScriptedUsage(0, 200, 100_000, 50_000, 100_000)
COST = 0.412


def split(hour: int, minutes: int = 0) -> dict[str, int]:
    return {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": minutes}


# -- told by the API ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "hour"),
    [
        ({}, 4),
        ({"cache_creation": None}, 4),
        ({"cache_creation": split(0)}, 4),
        ({"cache_creation": split(6)}, 6),
        ({"cache_creation": "odd"}, 4),
        ({"cache_creation": {"ephemeral_1h_input_tokens": None}}, 4),
    ],
)
def test_an_answer_tells_the_split(later: dict[str, Any], hour: int) -> None:
    begun: Any = {"cache_creation": split(4, 3)}
    more = event("message_delta", delta={"stop_reason": "end_turn"}, usage=later)
    told = finished(start(**begun), block(), text("Hi"), said("Hi"), more, *stop(), result())
    assert told.usage == Usage(3, 5, 7, 11, hour)


@pytest.mark.parametrize("nothing", [None, 0])
def test_counts_of_the_prompt_are_not_taken_back(nothing: int | None) -> None:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    later = dict.fromkeys(names, nothing) | {"output_tokens": 9}
    more = event("message_delta", delta={"stop_reason": "end_turn"}, usage=later)
    closing = event("message_stop")
    whole = (start(), block(), text("Hi"), said("Hi"))
    assert finished(*whole, more, closing, result()).usage == Usage(3, 9, 7, 11)
    assert read_traffic("messages", None, passing(COUNTS, later), "").usage == Usage(3, 9, 7, 11, 4)


COUNTS = {
    "input_tokens": 3,
    "output_tokens": 1,
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 11,
    "cache_creation": split(4, 3),
}


def passing(begun: Any, later: Any) -> bytes:
    message = {"id": "msg_1", "model": MODEL, "usage": begun, "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": later},
        {"type": "message_stop"},
    ]
    told = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return "".join(told).encode()


@pytest.mark.parametrize(
    ("later", "usage"),
    [
        (None, Usage(3, 1, 7, 11, 4)),
        ({"output_tokens": 0}, Usage(3, 0, 7, 11, 4)),
        ({"output_tokens": None, "cache_creation": None}, Usage(3, 1, 7, 11, 4)),
        ({"cache_creation": split(0), "input_tokens": 2}, Usage(2, 1, 7, 11, 4)),
        ({"cache_creation": split(5, 2), "odd": {"x": None}}, Usage(3, 1, 7, 11, 5)),
    ],
)
def test_traffic_that_passes_is_read_alike(later: Any, usage: Usage) -> None:
    assert read_traffic("messages", None, passing(COUNTS, later), "").usage == usage


def test_a_server_that_tells_at_the_end_alone_is_heard() -> None:
    reading = read_traffic("messages", None, passing(dict.fromkeys(COUNTS, 0), COUNTS), "")
    assert reading.usage == Usage(3, 1, 7, 11, 4)


# -- priced ---------------------------------------------------------------------------------------


def test_the_list_price_of_a_turn_by_login() -> None:
    assert list_price(MODEL, LOGIN) == pytest.approx(COST)
    assert list_price(MODEL, Usage(0, 200, 100_000, 50_000)) == pytest.approx(COST - 0.15)
    assert list_price(MODEL, Usage(0, 0, 100_000, 0, 60_000)) == pytest.approx(0.1 + 0.24)
    assert list_price(MODEL, Usage(0, 0, 10, 0, 1_000)) == pytest.approx(10 * 4e-6)


def test_without_a_price_of_its_own_an_hour_is_twice_the_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = prices._prices(MODEL, "2026-11-22")
    assert known is not None
    monkeypatch.delitem(known.__dict__, "cache_write_1h_mtok")
    assert isinstance(known, ModelPrice) and known.cache_write_1h_mtok is None
    assert cache_rates(MODEL, "2026-11-22", 1_000, hour=True) == pytest.approx((1.8e-6, 2e-6))
    assert list_price(MODEL, LOGIN) == pytest.approx(COST)


def test_a_model_without_cache_prices_has_none_for_an_hour() -> None:
    assert cache_rates("gpt-3.5-turbo", "2026-11-01", 1000, hour=True) == (0, 0)


@pytest.mark.parametrize("cut", [False, True])
async def test_a_turn_of_the_cli_costs_the_same_whole_and_cut(stage: Stage, cut: bool) -> None:
    stage.replies = [Reply(("Half",), SCRIPTED, "max_tokens" if cut else "")]
    limited = Parameters(max_tokens=200)
    told = await stage.answer(job("Hi", model=MODEL, parameters=limited))
    assert told.finished.usage == LOGIN
    assert told.cost == pytest.approx(COST)


# -- kept and shown -------------------------------------------------------------------------------


def documents(home: Path, command: str) -> list[dict[str, Any]]:
    arguments = ["--home", str(home), command, "--json"]
    rows: list[dict[str, Any]] = json.loads(CliRunner().invoke(cli, arguments).stdout)
    return rows


def fill(home: Path, *usages: Usage) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        for usage in usages:
            store.commit(turn(model=MODEL, usage=usage, started_at=time.time()))


def test_what_is_written_for_an_hour_and_hardly_read_is_a_loss(tmp_path: Path) -> None:
    fill(tmp_path, LOGIN)
    (row,) = documents(tmp_path, "savings")
    assert row["cache_reads_saved_usd"] == pytest.approx(0.09)
    assert row["cache_writes_extra_usd"] == pytest.approx(0.2)
    assert row["net_usd"] == pytest.approx(-0.11)
    assert row["cache_creation_1h_input_tokens"] == 100_000


def test_both_kinds_of_one_model_are_told_apart(tmp_path: Path) -> None:
    fill(tmp_path, LOGIN, Usage(0, 200, 100_000, 50_000), Usage(0, 0, 100_000, 50_000, 50_000))
    (row,) = documents(tmp_path, "savings")
    assert row["net_usd"] == pytest.approx(-0.11 + 0.04 - 0.035)


def test_a_database_of_before_says_nothing_of_an_hour(tmp_path: Path) -> None:
    """And what it has counts as written for five minutes."""
    path = tmp_path / DATABASE_NAME
    with closing(sqlite3.connect(path)) as connection:
        older = Database(connection)
        migrations.apply(older, stop_before="m008_cache_writes_for_an_hour")
    with closing(SessionStore.open(path)) as store:
        store.commit(turn(model=MODEL, usage=LOGIN, started_at=time.time()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE turns SET cache_creation_1h_input_tokens = NULL")
    with closing(SessionStore.open(path)) as store:
        assert [one.usage for one in store.turns(KEY)] == [Usage(0, 200, 100_000, 50_000)]
        (summary,) = store.sessions()
        assert summary.usage.cache_creation_1h_input_tokens == 0
    assert documents(tmp_path, "savings")[0]["net_usd"] == pytest.approx(0.04)
    assert documents(tmp_path, "cost")[0]["cache_creation_1h_input_tokens"] == 0


def test_the_tables_say_how_much_was_for_an_hour(tmp_path: Path) -> None:
    fill(tmp_path, Usage(0, 1, 20_000, 0, 18_000), Usage(0, 1, 1_000, 0))
    shown = CliRunner().invoke(cli, ["--home", str(tmp_path), "cost"]).stdout
    assert shown.count("21,000 (18,000 1h)") == 2
    assert documents(tmp_path, "cost")[0]["cache_creation_1h_input_tokens"] == 18_000


async def test_the_metrics_and_the_overview_say_it_too(watched: Watched) -> None:
    watched.commit({"model": MODEL, "usage": LOGIN})
    text = (await exposition(watched.thread, IDLE, Errors(), {})).decode()
    labels = f'client="",model="{MODEL}",provider="claude"'
    assert f"sessionbridge_cache_write_1h_tokens_total{{{labels}}} 100000.0" in text
    overview = await watched.document("/api/overview")
    assert overview["ledger"]["totals"]["cache_creation_1h_input_tokens"] == 100_000


def test_the_content_view_says_it_where_there_is_any() -> None:
    for usage, shown in ((LOGIN, True), (Usage(1, 1, 1, 1), False)):
        reading = read_traffic("messages", None, None, "")
        page = answer_page(reading, {"usage": usage.counts}, 200)
        assert ("of it 1 h" in page and "100,000" in page) is shown
