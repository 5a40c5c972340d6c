"""The dashboard's addresses: what each answers, and the figures it tells."""

from __future__ import annotations

import ast
import json
import os
import re
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import sessionbridge.dashboard
from sessionbridge.allowances import Allowance, Budget, ClientRules
from sessionbridge.dashboard.documents import LISTED
from sessionbridge.dashboard.metrics import Errors
from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.model import SessionKey
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.reports.sums import WINDOW
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.dashboard_fixtures import (
    BUSY,
    IDLE,
    OTHER,
    Watched,
    cost_rows,
    known_client,
    mixed_turns,
    nothing_said,
    passing,
    watched,
)
from tests.support.turn_records import KEY

__all__ = ["watched"]

PACKAGE = Path(sessionbridge.dashboard.__file__).parent
SUMMED = (
    "turns",
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "unpriced_turns",
)


def tally(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["name"]: row["turns"] for row in rows}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/elements.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
        ("/plotly.js", "text/javascript; charset=utf-8"),
        ("/api/overview", "application/json"),
        ("/api/sessions", "application/json"),
        ("/metrics", "text/plain; version=1.0.0; charset=utf-8"),
    ],
)
async def test_every_page_has_its_type_and_only_plotly_may_be_kept(
    watched: Watched, path: str, kind: str
) -> None:
    page = await watched.dashboard.answer(path, {})
    assert (page.status, page.content_type) == (200, kind)
    kept = page.headers["cache-control"]
    assert ("immutable" in kept) if path == "/plotly.js" else (kept == "no-store")
    assert page.body


@pytest.mark.parametrize(
    "path", ["", "/nothing", "/api", "/api/", "//", "/../pages.py", "/pages.py", "/page.html"]
)
async def test_elsewhere_there_is_nothing(watched: Watched, path: str) -> None:
    page = await watched.dashboard.answer(path, {})
    assert page.status == 404
    assert "no such page" in json.loads(page.body)["error"]


async def test_plotly_is_the_file_of_the_package_and_its_address_has_its_version(
    watched: Watched,
) -> None:
    page = await watched.dashboard.answer("/plotly.js", {"v": "7"})
    assert page.body == (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    assert re.search(r'src="plotly\.js\?v=\d+\.\d+', await watched.text("/"))


async def test_the_page_loads_nothing_from_elsewhere(watched: Watched) -> None:
    page = await watched.dashboard.answer("/", {})
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    text = page.body.decode()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {a.split("?")[0] for a in addresses} == {
        "#",
        "#main",
        "app.css",
        "app.js",
        "plotly.js",
        "icon.svg",
    }
    assert not re.search(r"<script(?![^>]* src=)", text)


async def test_every_script_is_served_and_none_makes_markup(watched: Watched) -> None:
    scripts = {path.name for path in PACKAGE.glob("*.js")}
    imported: set[str] = set()
    for name in scripts:
        text = await watched.text(f"/{name}")
        imported |= set(re.findall(r'from "\./([^"]+)"', text))
        assert "innerHTML" not in text
    assert imported == scripts - {"app.js"} != set()


def test_the_room_knows_no_mitmproxy() -> None:
    trees = [ast.parse(path.read_text("utf-8")) for path in PACKAGE.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    named = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    named |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert "prometheus_client" in named
    assert not [name for name in named if name.split(".")[0] == "mitmproxy"]


@pytest.mark.parametrize("span", ["24h", "7d", "30d", "all"])
async def test_totals_are_those_of_the_cost_command(watched: Watched, span: str) -> None:
    watched.commit(*mixed_turns(time.time()))
    ledger = (await watched.document("/api/overview", since=span))["ledger"]
    rows = cost_rows(watched.home, span)
    totals = ledger["totals"]
    assert totals["turns"] > 0
    assert {name: totals[name] for name in SUMMED} == {
        name: sum(row[name] for row in rows) for name in SUMMED
    }
    assert totals["cost_usd"] == sum(row["cost_usd"] or 0 for row in rows)
    for name in ("turns", "input_tokens", "cache_read_input_tokens"):
        assert sum(bucket[name] for bucket in ledger["series"]) == totals[name]


async def test_seven_days_are_shown_unless_another_span_is_asked_for(watched: Watched) -> None:
    watched.commit(*mixed_turns(time.time()))
    shown = await watched.document("/api/overview")
    assert shown["span"] == "7d"
    assert shown["ledger"]["totals"]["turns"] == len(mixed_turns(0)) - 1
    assert shown["ledger"]["bucket_seconds"] == 24 * 3600
    refused = await watched.dashboard.answer("/api/overview", {"since": "yesterday"})
    assert refused.status == 400
    assert "24h, 7d, 30d, all" in json.loads(refused.body)["error"]


async def test_the_overview_tells_what_passed_through_apart(watched: Watched) -> None:
    watched.commit(*mixed_turns(time.time()))
    ledger = (await watched.document("/api/overview", since="all"))["ledger"]
    assert tally(ledger["plans"]) == {"fresh": 4, "resume": 1, "fork": 1, "passthrough": 1}
    assert tally(ledger["reasons"]) == {"first_turn": 4, "continued": 1, "branched": 1}
    assert tally(ledger["processes"]) == {"new": 4, "live": 1, "spare": 1}
    assert tally(ledger["platforms"]) == {"goclaw": 5, "openclaw": 1, "passthrough": 1}
    assert tally(ledger["models"])["gpt-4o"] == 1
    assert ledger["totals"]["starts_avoided"] == 2


async def test_of_one_account_and_nobody_known_by_a_token_nothing_is_told_apart(
    watched: Watched,
) -> None:
    watched.commit({}, passing(time.time()))
    ledger = (await watched.document("/api/overview"))["ledger"]
    spent = ("clients", "providers", "budgets", "plan_windows")
    assert {name: ledger[name] for name in spent} == dict.fromkeys(spent, [])


async def test_clients_providers_budgets_and_plans_are_told(watched: Watched) -> None:
    watched.commit({}, {"client": "ann", "key": SessionKey("ann:goclaw", "u", "work")})
    now = time.time()
    watched.providers["work"] = Allowance(budgets=(Budget(per="week", tokens=0),))
    with closing(SessionStore.open(watched.home / DATABASE_NAME)) as store:
        known_client(store, "ann", ClientRules(budgets=(Budget(per="day", usd=5),)))
        store.keep_plan_windows([PlanWindow("work", "7d", "allowed", 0.5, now + 60, now)])
    ledger = (await watched.document("/api/overview"))["ledger"]
    assert {(row["name"], row["turns"]) for row in ledger["clients"]} == {("ann", 1), ("", 1)}
    assert {row["name"]: row["cost_usd"] for row in ledger["providers"]} == {
        "work": 0.25,
        "claude": 0.25,
    }
    nothing, budget = ledger["budgets"]
    assert (nothing["of"], nothing["name"], nothing["share"]) == ("provider", "work", 1.0)
    assert budget.pop("until") > now
    told = {"per": "day", "usd": 5.0, "tokens": None, "used": 0.0, "share": 0.0}
    assert budget == {"of": "client", "name": "ann", **told}
    (plan,) = ledger["plan_windows"]
    assert (plan["provider"], plan["window"], plan["used"]) == ("work", "7d", 0.5)


async def test_the_overview_tells_what_goes_on_now(watched: Watched) -> None:
    watched.state = BUSY
    live = (await watched.document("/api/overview"))["live"]
    assert (live["running"], live["waiting"]) == (1, 3)
    assert live["processes"] == {"live": 5, "spares": 2}
    (turn,) = live["turns"]
    assert (turn["platform"], turn["external_id"], turn["ttft_ms"]) == ("openclaw", "team:7", 420)


async def test_sessions_have_their_totals_and_why_they_are_imported(watched: Watched) -> None:
    watched.commit({}, {"key": OTHER, "internal_id": "session-2", "cost_usd": None})
    for _ in range(3):
        watched.commit({"plan": "import", "reason": "imported"})
    shown = await watched.document("/api/sessions")
    rows = {row["platform"]: row for row in shown["sessions"]}
    assert shown["total"] == 2
    talked = rows["goclaw"]
    assert (talked["external_id"], talked["provider"]) == (KEY.external_id, "claude")
    assert (talked["turns"], talked["cost_usd"], talked["input_tokens"]) == (4, 1.0, 40)
    assert (talked["imports"], talked["recent_turns"], talked["likely_cause"]) == (3, 4, WINDOW)
    assert (rows["openclaw"]["cost_usd"], rows["openclaw"]["unpriced_turns"]) == (None, 1)
    assert time.time() - talked["last_used_at"] < 60


async def test_two_clients_conversations_of_one_id_are_two(watched: Watched) -> None:
    watched.commit(
        {"key": SessionKey("goclaw", "chat", "claude"), "model": "nobodys"},
        {"key": SessionKey("ann:goclaw", "chat", "claude"), "client": "ann", "model": "anns"},
    )
    rows = (await watched.document("/api/sessions"))["sessions"]
    assert {(row["client"], row["platform"]) for row in rows} == {
        (None, "goclaw"),
        ("ann", "goclaw"),
    }
    named = {"platform": "goclaw", "id": "chat", "provider": "claude"}
    for query, model in ((named, "nobodys"), ({**named, "client": "ann"}, "anns")):
        shown = await watched.document("/api/conversation", **query)
        assert [turn["model"] for turn in shown["turns"]] == [model]


async def test_of_very_many_sessions_those_used_last_are_listed(watched: Watched) -> None:
    keys = [SessionKey("goclaw", f"user-{number}", "claude") for number in range(LISTED + 1)]
    watched.commit(*({"key": key} for key in keys))
    shown = await watched.document("/api/sessions")
    listed = [row["external_id"] for row in shown["sessions"]]
    assert (shown["total"], len(listed)) == (LISTED + 1, LISTED)
    assert "user-0" not in listed and f"user-{LISTED}" in listed


async def test_without_a_ledger_only_what_goes_on_is_shown() -> None:
    dashboard = Dashboard(None, lambda: BUSY, lambda _: nothing_said, Errors(), {})
    overview = json.loads((await dashboard.answer("/api/overview", {})).body)
    assert (overview["ledger"], overview["live"]["running"]) == (None, 1)
    sessions = json.loads((await dashboard.answer("/api/sessions", {})).body)
    assert sessions == {"total": 0, "sessions": []}
    query = {"platform": "goclaw", "id": "ann", "provider": "claude"}
    assert (await dashboard.answer("/api/conversation", query)).status == 404


@pytest.mark.parametrize("path", ["/api/overview", "/api/sessions", "/metrics"])
async def test_a_database_that_cannot_be_used_is_one_sentence(watched: Watched, path: str) -> None:
    os.mkdir(watched.thread.place.name)
    page = await watched.dashboard.answer(path, {})
    assert page.status == 503
    assert "cannot be used" in json.loads(page.body)["error"]


async def test_a_fault_of_our_own_tells_its_kind_and_nothing_else(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def state() -> Any:
        raise RuntimeError("".join(("sec", "ret")))

    dashboard = Dashboard(watched.thread, state, lambda _: nothing_said, Errors(), {})
    page = await dashboard.answer("/api/overview", {})
    assert page.status == 500
    assert "RuntimeError" in json.loads(page.body)["error"]
    assert "secret" not in page.body.decode() + caplog.text


async def test_nothing_is_committed_by_looking(watched: Watched) -> None:
    watched.commit({})
    before = cost_rows(watched.home)
    for path in ("/", "/api/overview", "/api/sessions", "/metrics"):
        assert (await watched.dashboard.answer(path, {})).status == 200
    assert cost_rows(watched.home) == before
    assert watched.state is IDLE
