"""`sessionbridge limits`: how much of the plans of logins is used."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.cli.main import cli
from sessionbridge.cli.tables import bar, local
from sessionbridge.plan_windows import HOUR, PlanWindow
from sessionbridge.sessions.store.engine import insert
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.known_clients import add_client


def run(home: Path, *arguments: str) -> str:
    ran = CliRunner().invoke(cli, ["--home", str(home), "limits", *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def keep(home: Path, *windows: PlanWindow) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.keep_plan_windows(windows)


def test_where_nothing_was_told_there_is_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert json.loads(run(home, "--json")) == {"plan_windows": [], "budgets": []}
    assert "Nothing here yet" in run(home)
    assert not home.exists()
    keep(home)
    assert "Nothing to show" in run(home)


def test_each_window_with_its_share_rate_and_times(tmp_path: Path) -> None:
    now = time.time()
    resets = now + 3 * HOUR  # so that two of five hours are over
    keep(tmp_path, PlanWindow("work", "5h", "allowed_warning", 0.6, resets, now))
    keep(tmp_path, PlanWindow("claude", "7d", "allowed", 0.5, now - 60, now - 3600))
    output = run(tmp_path)
    row = cells(output, "work")
    full = local(now + 0.4 / 0.3 * HOUR)
    assert row == ["work", "5h", "██████····", "60%", "30.0%", full, local(resets), local(now)]
    assert cells(output, "claude")[2:4] == ["", "it has reset"]
    over, here = documents(tmp_path)
    assert (here["provider"], here["window"], here["used"]) == ("work", "5h", 0.6)
    assert here["used_per_hour"] == pytest.approx(0.3)
    assert datetime.fromisoformat(here["resets_at"]).timestamp() == pytest.approx(resets, abs=1)
    assert here["full_at"] < here["resets_at"]
    assert (over["used"], over["used_per_hour"], over["full_at"]) == (None, None, None)


def test_budgets_of_clients_and_of_the_configs_providers(tmp_path: Path) -> None:
    add_client(tmp_path, "ann", ClientRules(budgets=(Budget(per="day", tokens=0),)))
    config = tmp_path / "config.toml"
    config.write_text('[providers.work]\nbudgets = [{ per = "month", usd = 8 }]')
    with closing(SessionStore.open(tmp_path / DATABASE_NAME)) as store:
        row = {"client": "", "provider": "work", "cost_usd": 2.0, "tokens": 9}
        store.engine.write(lambda db: insert(db, "spending", row | {"started_at": time.time()}))
    assert "work" not in run(tmp_path)
    output = run(tmp_path, "--config", str(config))
    shown = ["provider", "work", "8.00 USD a month", "██▌·······", "2.00 USD", "6.00 USD"]
    assert cells(output, "provider")[:-1] == shown
    assert cells(output, "client")[2:4] == ["0 tokens a day", "██████████"]
    nothing, work = json.loads(run(tmp_path, "--config", str(config), "--json"))["budgets"]
    assert (nothing["of"], nothing["name"], nothing["left"]) == ("client", "ann", 0)
    assert datetime.fromisoformat(work.pop("resets_at")).day == 1
    usd = {"per": "month", "unit": "usd", "limit": 8.0, "used": 2.0, "left": 6.0}
    assert work == {"of": "provider", "name": "work", **usd}


def test_a_config_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    command = ["--home", str(tmp_path), "limits", "--config", str(tmp_path / "none.toml")]
    ran = CliRunner().invoke(cli, command)
    assert (ran.exit_code, "cannot be read" in ran.stderr) == (1, True)


def documents(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(home, "--json"))["plan_windows"]
    return found


def cells(table: str, name: str) -> list[str]:
    (found,) = [row for row in table.splitlines() if row.startswith(f"│ {name} ")]
    return [cell.strip() for cell in found.strip("│").split("│")]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, "··········"), (0.5, "█████·····"), (0.46, "████▌·····"), (1.2, "██████████")],
)
def test_bars_are_as_long_as_their_share(share: float, drawn: str) -> None:
    assert bar(share) == drawn
