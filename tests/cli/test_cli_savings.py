"""`sessionbridge savings`: its sums, against prices that genai-prices works out by itself."""

from __future__ import annotations

import csv
import io
import json
import shlex
import time
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from click.testing import CliRunner, Result

from sessionbridge.claude.prices import cache_rates, list_price
from sessionbridge.cli.main import cli
from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.ledger import PassedTurn
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.dashboard_fixtures import Change, keep, passing
from tests.support.documents import DOCS, blocks
from tests.support.turn_records import GROUPS

SONNET = "claude-sonnet-4-5"
OPENCLAW = SessionKey("openclaw", "team-1", "work")
TODAY = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def fill(home: Path, *changes: Change) -> None:
    usual = {"model": SONNET, "started_at": time.time()}
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        keep(store, *(c if isinstance(c, PassedTurn) else {**usual, **c} for c in changes))


def run(home: Path, *arguments: str) -> Result:
    command = ["--home", str(home), "savings", *arguments]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def documents(home: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(home, *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert isinstance(rows, list)
    return rows


def price(
    model: str, fresh: int = 0, read: int = 0, written: int = 0, at: datetime = TODAY
) -> float:
    """The library's own figure for a prompt of such tokens."""
    counts = genai_prices.Usage(
        input_tokens=fresh + read + written, cache_read_tokens=read, cache_write_tokens=written
    )
    return float(genai_prices.calc_price(counts, model, genai_request_timestamp=at).total_price)


def expected(model: str, usage: Usage, at: datetime = TODAY) -> tuple[float, float]:
    """What was paid for the prompt, against what it would have cost without the reads' discount,
    and without what writes cost on top."""
    fresh, written = usage.input_tokens, usage.cache_creation_input_tokens
    read = usage.cache_read_input_tokens
    paid = price(model, fresh, read, written, at)
    saved = price(model, fresh + read, 0, written, at) - paid
    extra = paid - price(model, fresh + written, read, 0, at)
    return saved, extra


def test_a_million_tokens_read_from_the_cache_saved_their_discount(home: Path) -> None:
    """In turns of 100,000, so that none is a long prompt with prices of its own."""
    fill(home, *[{"usage": Usage(0, 0, 0, 100_000)}] * 10)
    (row,) = documents(home)
    saved = 10 * (price(SONNET, fresh=100_000) - price(SONNET, read=100_000))
    assert saved > 0
    assert row["cache_read_input_tokens"] == 1_000_000
    assert row["cache_reads_saved_usd"] == pytest.approx(saved)
    assert (row["cache_writes_extra_usd"], row["unpriced_turns"]) == (0, 0)
    assert row["net_usd"] == pytest.approx(saved)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(1_000, 50, 2_000, 30_000),
        Usage(1_000, 50, 2_000, 300_000),  # a long prompt
        Usage(0, 10, 100_000, 100_000),  # the longest short one
        Usage(0, 10, 100_000, 100_001),
    ],
)
@pytest.mark.parametrize("model", [SONNET, "claude-opus-4-5-20251101", "claude-haiku-4-5"])
def test_writes_cost_on_top_and_the_net_is_what_is_left(
    home: Path, model: str, usage: Usage
) -> None:
    fill(home, {"model": model, "usage": usage})
    (row,) = documents(home)
    saved, extra = expected(model, usage)
    assert extra > 0
    assert row["cache_reads_saved_usd"] == pytest.approx(saved)
    assert row["cache_writes_extra_usd"] == pytest.approx(extra)
    assert row["net_usd"] == pytest.approx(saved - extra)


def test_a_conversation_that_only_writes_has_lost_money(home: Path) -> None:
    fill(home, {"usage": Usage(0, 10, 50_000, 0)})
    (row,) = documents(home)
    assert row["net_usd"] < 0


def test_the_price_is_that_of_the_turns_own_day(home: Path) -> None:
    """The library knows of a model whose long prompts have become cheaper."""
    model, usage = "claude-opus-4-6", Usage(0, 10, 0, 500_000)
    days = [datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 20, 12, tzinfo=UTC)]
    before, after = (expected(model, usage, day)[0] for day in days)
    assert before != pytest.approx(after)
    fill(home, *({"model": model, "usage": usage, "started_at": day.timestamp()} for day in days))
    rows = documents(home, "--by", "day")
    assert [row["cache_reads_saved_usd"] for row in rows] == pytest.approx([before, after])


def test_a_model_without_a_price_is_counted_and_not_zero(home: Path) -> None:
    fill(home, {"model": "mystery-1", "key": OPENCLAW}, {"usage": Usage(0, 1, 0, 1000)})
    priced, unpriced = documents(home)
    assert (priced["platform"], priced["unpriced_turns"]) == ("goclaw", 0)
    assert (unpriced["platform"], unpriced["unpriced_turns"]) == ("openclaw", 1)
    for name in ("cache_reads_saved_usd", "cache_writes_extra_usd", "net_usd"):
        assert unpriced[name] is None
    total = line(run(home).stdout, "Total")
    assert total[3].endswith("+ ?") and total[5].endswith("+ ?")
    assert line(run(home).stdout, "openclaw")[3:6] == ["?", "?", "?"]


def test_part_of_a_group_without_a_price_is_said_too(home: Path) -> None:
    usage = Usage(0, 1, 0, 1000)
    fill(home, {"model": "mystery-1", "usage": usage}, {"usage": usage})
    (row,) = documents(home)
    assert (row["turns"], row["unpriced_turns"]) == (2, 1)
    assert row["net_usd"] == pytest.approx(expected(SONNET, usage)[0])


def test_starts_are_avoided_by_live_processes_and_spares(home: Path) -> None:
    kinds = ("new", "live", "live", "spare")
    fill(home, *({"process": kind} for kind in kinds), {"process": None})
    (row,) = documents(home)
    assert (row["starts_avoided"], row["starts_made"], row["starts_unknown"]) == (3, 1, 1)
    assert row["starts_avoided_share"] == 0.75
    assert line(run(home).stdout, "goclaw")[-1] == "3 of 4 (75%) + 1 ?"


def test_traffic_that_passes_through_avoids_no_start_but_has_a_cache(home: Path) -> None:
    passed = passing(time.time())
    fill(home, passed, passed)
    (row,) = documents(home)
    starts = (row["starts_avoided"], row["starts_made"], row["starts_unknown"])
    assert (starts, row["starts_avoided_share"]) == ((0, 0, 0), None)
    assert row["cache_reads_saved_usd"] == pytest.approx(
        2 * expected(passed.model, passed.usage)[0]
    )
    assert line(run(home).stdout, "passthrough")[-1] == "-"


@pytest.mark.parametrize(("by", "names"), GROUPS.items())
def test_every_grouping_says_the_same_in_sum(home: Path, by: str, names: set[str]) -> None:
    now = time.time()
    usages = [Usage(10, 5, 300, 5_000 * factor) for factor in range(1, 5)]
    fill(
        home,
        {"usage": usages[0], "started_at": now - 3 * 86_400},
        {"usage": usages[1], "internal_id": "session-2", "process": "live"},
        {"usage": usages[2], "key": OPENCLAW, "internal_id": "session-3", "client": "ann"},
        {"usage": usages[3], "key": OPENCLAW, "internal_id": "session-3", "model": "claude-opus-5"},
    )
    rows = documents(home, "--by", by)
    assert len(rows) > 1 and all(names < set(row) for row in rows)
    models = [SONNET, SONNET, SONNET, "claude-opus-5"]
    money = [expected(model, usage) for model, usage in zip(models, usages, strict=True)]
    net = sum(saved - extra for saved, extra in money)
    assert sum(row["net_usd"] for row in rows) == pytest.approx(net)
    assert sum(row["turns"] for row in rows) == 4
    assert sum(row["starts_avoided"] for row in rows) == 1
    order = [row["day"] if by == "day" else -row["net_usd"] for row in rows]
    assert order == sorted(order)


def test_since_leaves_older_turns_out_of_all_figures(home: Path) -> None:
    old = {"started_at": time.time() - 7200, "process": "live", "model": "mystery-1"}
    fill(home, old, {"usage": Usage(0, 1, 0, 1000)})
    (row,) = documents(home, "--since", "1h")
    assert (row["turns"], row["starts_avoided"], row["unpriced_turns"]) == (1, 0, 0)
    assert row["net_usd"] == pytest.approx(expected(SONNET, Usage(0, 1, 0, 1000))[0])


def test_csv_has_the_fields_and_values_of_json(home: Path) -> None:
    odd = SessionKey("openclaw", 'Ann, "the boss"\nof it', "claude")
    fill(home, {"key": odd}, {"model": "mystery-1", "process": None})
    result = run(home, "--by", "user", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    told = documents(home, "--by", "user")
    assert [list(row) for row in rows] == [list(row) for row in told]
    for row, document in zip(rows, told, strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in document.items()}


def test_without_turns_there_is_a_header_and_no_home_is_made(home: Path) -> None:
    (header,) = run(home, "--csv").stdout.splitlines()
    assert header.startswith("platform,turns,")
    assert documents(home) == []
    assert "Nothing here yet" in run(home).stdout
    assert not home.exists()


def test_json_and_csv_exclude_each_other(home: Path) -> None:
    result = run(home, "--json", "--csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json and --csv exclude each other" in result.stderr


def test_the_total_is_in_the_table_alone(home: Path) -> None:
    usages = Usage(0, 1, 1_000, 50_000), Usage(0, 1, 2_000, 90_000)
    fill(home, {"usage": usages[0], "process": "live"}, {"usage": usages[1], "key": OPENCLAW})
    total = line(run(home).stdout, "Total")
    saved, extra = map(sum, zip(*(expected(SONNET, usage) for usage in usages), strict=True))
    figures = [f"{saved:.4f}", f"{extra:.4f}", f"{saved - extra:.4f}"]
    assert total[1:] == ["2", "140,000", *figures, "1 of 2 (50%)"]
    assert "Total" not in run(home, "--json").stdout + run(home, "--csv").stdout


def line(table: str, name: str) -> list[str]:
    """The cells of the row that begins with a name."""
    (found,) = [row for row in table.splitlines() if row.startswith(f"│ {name} ")]
    return [cell.strip() for cell in found.strip("│").split("│")]


@pytest.mark.parametrize("model", ["mystery-1", "", "default"])
def test_a_model_nobody_knows_has_no_rates_and_no_list_price(model: str) -> None:
    assert cache_rates(model, "2026-11-01", 1000) is None
    assert list_price(model, Usage(1, 1, 1, 1)) is None


def test_a_model_without_cache_prices_saves_nothing() -> None:
    assert cache_rates("gpt-3.5-turbo", "2026-11-01", 1000) == (0, 0)


@pytest.mark.parametrize("model", [SONNET, "gpt-4o"])
def test_a_list_price_is_the_librarys_for_prompt_and_answer(model: str) -> None:
    usage = Usage(1_000, 500, 0, 4_000)
    counts = genai_prices.Usage(input_tokens=5_000, output_tokens=500, cache_read_tokens=4_000)
    total = genai_prices.calc_price(counts, model).total_price
    assert total > Decimal(0)
    assert list_price(model, usage) == pytest.approx(float(total))


# -- the page on cost ------------------------------------------------------------------------------


def shown_on_the_page() -> list[tuple[str, list[str]]]:
    """The commands of its console blocks, and what each prints."""
    shown = [block.splitlines() for block in blocks(DOCS / "cost.md", "console")]
    assert all(command.startswith("$ sessionbridge ") for command, *_ in shown)
    return [(command.removeprefix("$ "), output) for command, *output in shown]


def fill_as_the_page_tells(home: Path) -> None:
    """Three turns of each platform, one of them by a model without a price."""
    talk: dict[str, Any] = {"key": OPENCLAW, "internal_id": "session-2"}
    fill(
        home,
        {**talk, "usage": Usage(1_200, 800, 18_000, 0), "cost_usd": 0.0831},
        {**talk, "usage": Usage(900, 650, 2_000, 18_000), "cost_usd": 0.0254, "process": "live"},
        {**talk, "usage": Usage(40, 300, 0, 20_000), "cost_usd": 0.0106, "process": "live"},
        {"usage": Usage(15, 420, 6_000, 0), "cost_usd": 0.0288, "process": "spare"},
        {"usage": Usage(25, 380, 500, 6_000), "cost_usd": 0.0095, "process": "live"},
        {"usage": Usage(20, 90, 0, 6_500), "cost_usd": None, "model": "my-own-model"},
    )


@pytest.mark.acceptance(15, 18)
def test_the_page_on_cost_shows_what_cost_and_savings_print(home: Path) -> None:
    shown = [one for one in shown_on_the_page() if one[0].split()[1] in ("cost", "savings")]
    assert len(shown) == 2
    fill_as_the_page_tells(home)
    for command, lines in shown:
        words = shlex.split(command)[1:]
        result = CliRunner().invoke(cli, ["--home", str(home), *words], catch_exceptions=False)
        assert result.stdout.splitlines() == lines
