"""What Prometheus scrapes, read by its own client's parser and compared with the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sessionbridge.allowances import Allowance, Budget, ClientRules
from sessionbridge.dashboard.metrics import Errors, exposition
from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.model import SessionKey
from sessionbridge.plan_windows import HOUR, PlanWindow
from sessionbridge.sessions.reports.budgets import LISTED
from sessionbridge.sessions.reports.figures import NAMED, OTHERS
from sessionbridge.sessions.store.engine import insert
from sessionbridge.sessions.store.places import DATABASE_NAME, Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.dashboard_fixtures import (
    BUSY,
    IDLE,
    OTHER,
    Watched,
    known_client,
    mixed_turns,
    nothing_said,
    passing,
    watched,
)
from tests.support.turn_records import KEY

__all__ = ["watched"]


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def total(text: str, name: str, **labels: str) -> float:
    wanted = f"sessionbridge_{name}"
    found = [s.value for s in samples(text) if s.name == wanted and labels.items() <= _own(s)]
    assert found, f"no {wanted} {labels}"
    return sum(found)


def _own(sample: Sample) -> set[tuple[str, str]]:
    return set(sample.labels.items())


def assert_equals_ledger(text: str, home: Path) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        costs, sessions = store.costs("model"), store.sessions()
        counts = store.figures().turns
    assert total(text, "turns_total") == sum(row.turns for row in costs)
    for count in counts:
        labels = {"plan": count.plan, "reason": count.reason, "api": count.api}
        labels |= asdict(count.whose)
        process = count.process or ""
        assert total(text, "turns_total", **labels, process=process) == count.turns
    for row in costs:
        model, usage = row.group["model"], row.usage
        kinds = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache_read": usage.cache_read_input_tokens,
            "cache_write": usage.cache_creation_input_tokens,
        }
        for kind, tokens in kinds.items():
            assert total(text, "tokens_total", kind=kind, model=model) == tokens
        assert total(text, "cost_usd_total", model=model) == row.cost_usd
    assert sessions


async def test_every_counter_equals_the_ledger_and_survives_a_restart(watched: Watched) -> None:
    watched.commit(*mixed_turns(time.time()))
    first = await watched.text("/metrics")
    assert_equals_ledger(first, watched.home)
    watched.restart()
    assert await watched.text("/metrics") == first
    watched.commit({"plan": "resume", "reason": "continued", "process": "live"})
    later = await watched.text("/metrics")
    assert_equals_ledger(later, watched.home)
    assert total(later, "turns_total") == total(first, "turns_total") + 1


async def test_histograms_count_the_bridged_turns(watched: Watched) -> None:
    watched.commit({"ttft_ms": 400, "duration_ms": 900}, {"ttft_ms": 4000, "duration_ms": 61_000})
    text = await watched.text("/metrics")
    first, whole = "time_to_first_token_seconds", "turn_duration_seconds"
    assert total(text, f"{first}_count") == total(text, f"{first}_bucket", le="+Inf") == 2
    assert total(text, f"{first}_sum") == pytest.approx(4.4)
    assert total(text, f"{first}_bucket", le="0.5") == 1
    assert total(text, f"{whole}_bucket", le="60.0") == 1
    assert total(text, f"{whole}_bucket", le="120.0") == 2


async def test_buckets_are_cumulative(watched: Watched) -> None:
    watched.commit(*mixed_turns(time.time()))
    found = samples(await watched.text("/metrics"))
    for name in ("time_to_first_token_seconds", "turn_duration_seconds"):
        buckets = [s for s in found if s.name == f"sessionbridge_{name}_bucket"]
        bounds = [float(s.labels["le"]) for s in buckets]
        counts = [s.value for s in buckets]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf")
        assert counts == sorted(counts)


async def test_a_turn_without_a_price_is_no_turn_for_nothing(watched: Watched) -> None:
    watched.commit({"model": "unknown", "cost_usd": None})
    text = await watched.text("/metrics")
    assert total(text, "tokens_total", model="unknown", kind="input") == 10
    assert not [s for s in samples(text) if s.name == "sessionbridge_cost_usd_total"]


async def test_gauges_tell_what_goes_on_now(watched: Watched) -> None:
    watched.state = BUSY
    text = await watched.text("/metrics")
    assert total(text, "turns_running") == BUSY.running
    assert total(text, "turns_waiting") == BUSY.waiting
    assert total(text, "live_processes") == BUSY.live
    assert total(text, "spare_processes") == BUSY.spares
    watched.state = IDLE
    assert total(await watched.text("/metrics"), "turns_running") == 0


async def test_errors_are_counted_by_class(watched: Watched) -> None:
    for name in ("Overloaded", "TimedOut", "Overloaded"):
        watched.errors.count(name)
    text = await watched.text("/metrics")
    assert total(text, "errors_total", error="Overloaded") == 2
    assert total(text, "errors_total", error="TimedOut") == 1


async def test_no_label_holds_anybodys_id(watched: Watched) -> None:
    watched.commit(*mixed_turns(time.time()))
    labels: list[Mapping[str, str]] = [s.labels for s in samples(await watched.text("/metrics"))]
    allowed = {"plan", "reason", "process", "api", "kind", "model", "error", "le"}
    allowed |= {"client", "provider", "window", "unit", "per"}
    assert {name for one in labels for name in one} <= allowed
    values = {value for one in labels for value in one.values()}
    assert values.isdisjoint({KEY.external_id, OTHER.external_id, "session-1", "session-2"})


async def test_names_and_types_are_what_prometheus_expects(watched: Watched) -> None:
    watched.commit({})
    families = text_string_to_metric_families(await watched.text("/metrics"))
    types = {family.name.removeprefix("sessionbridge_"): family.type for family in families}
    assert types == {
        "live_processes": "gauge",
        "spare_processes": "gauge",
        "turns_running": "gauge",
        "turns_waiting": "gauge",
        "errors": "counter",
        "turns": "counter",
        "tokens": "counter",
        "cache_write_1h_tokens": "counter",
        "cost_usd": "counter",
        "time_to_first_token_seconds": "histogram",
        "turn_duration_seconds": "histogram",
        "plan_window_used_ratio": "gauge",
        "plan_window_used_per_hour_ratio": "gauge",
        "plan_window_reset_timestamp_seconds": "gauge",
        "budget_used_ratio": "gauge",
    }


async def test_clients_and_providers_are_labels(watched: Watched) -> None:
    anns = {"client": "ann", "key": SessionKey("ann:goclaw", "u", "claude")}
    work = {"key": SessionKey("goclaw", "u", "work"), "cost_usd": 2.0}
    watched.commit(anns, anns, work, passing(time.time()))
    text = await watched.text("/metrics")
    assert total(text, "turns_total", client="ann", provider="claude") == 2
    assert total(text, "turns_total", client="", provider="work") == 1
    assert total(text, "turns_total", provider="", plan="passthrough") == 1
    assert total(text, "tokens_total", client="ann", kind="output") == 40
    assert total(text, "cost_usd_total", provider="work") == 2.0


async def test_the_number_of_names_is_bounded_and_no_counter_ever_falls(watched: Watched) -> None:
    def of(name: str) -> dict[str, object]:
        key = SessionKey(f"{name}:goclaw", "u", f"of-{name}")
        return {"client": name, "key": key, "plan": "resume", "cost_usd": 0.5}

    before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for number in range(NAMED + 3):
        # In alphabetical order it is the other way around.
        watched.commit(of(f"c{NAMED + 3 - number:03}"), *[of(OTHERS[1:-1])] * (number == 0))
        if number < NAMED - 2:
            continue
        now = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in samples(await watched.text("/metrics"))
            if sample.name.endswith("_total")
        }
        assert all(now[name] >= value for name, value in before.items())
        before = now
    text = await watched.text("/metrics")
    clients = {s.labels["client"] for s in samples(text) if "client" in s.labels}
    assert len(clients) == NAMED + 1
    later = {"client": OTHERS, "provider": OTHERS}
    assert total(text, "turns_total", **later) == 4
    assert total(text, "cost_usd_total", **later) == 4 * 0.5
    assert total(text, "tokens_total", kind="output", **later) == 4 * 20
    assert total(text, "turns_total", client="other") == 1


async def test_plan_windows_are_gauges_while_they_last(watched: Watched) -> None:
    watched.commit({})
    now = time.time()
    open_, week = (
        PlanWindow("work", "5h", "allowed", 0.6, now + 3 * HOUR, now),
        PlanWindow("claude", "7d", "unknown", None, now + 60, now),
    )
    over = PlanWindow("claude", "5h", "allowed", 0.9, now - 1, now - 60)
    with closing(SessionStore.open(watched.home / DATABASE_NAME)) as store:
        store.keep_plan_windows([open_, week, over])
    text = await watched.text("/metrics")
    found = {
        (s.name.removeprefix("sessionbridge_plan_window_"), s.labels["provider"]): s.value
        for s in samples(text)
        if "window" in s.labels
    }
    assert found == {
        ("used_ratio", "work"): 0.6,
        ("used_per_hour_ratio", "work"): pytest.approx(0.3),
        ("reset_timestamp_seconds", "work"): pytest.approx(now + 3 * HOUR),
        ("reset_timestamp_seconds", "claude"): pytest.approx(now + 60),
    }


async def test_of_budgets_those_are_gauges_that_are_used_most(watched: Watched) -> None:
    watched.commit({})
    watched.providers["work"] = Allowance(budgets=(Budget(per="week", tokens=0),))
    day = ClientRules(budgets=(Budget(per="day", usd=5),))
    with closing(SessionStore.open(watched.home / DATABASE_NAME)) as store:
        for number in range(LISTED):
            known_client(store, f"c{number}", day)
        spent = {"cost_usd": 2.0, "tokens": 9, "started_at": time.time()}
        row = {"client": "c49", "provider": "work", **spent}
        store.engine.write(lambda db: insert(db, "spending", row))
    text = await watched.text("/metrics")
    assert total(text, "budget_used_ratio", client="", provider="work", unit="tokens") == 1
    assert total(text, "budget_used_ratio", client="c49", provider="", unit="usd", per="day") == 0.4
    assert len([s for s in samples(text) if "per" in s.labels]) == LISTED


async def test_a_bridge_that_keeps_nothing_has_gauges_and_errors_only() -> None:
    text = (await exposition(None, BUSY, Errors(), {})).decode()
    assert total(text, "live_processes") == BUSY.live
    assert "sessionbridge_turns_total" not in text


async def test_a_ledger_that_cannot_be_read_fails_the_scrape(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).mkdir()
    thread = StoreThread(Home(tmp_path))
    page = await Dashboard(thread, lambda: IDLE, lambda _: nothing_said, Errors(), {}).answer(
        "/metrics", {}
    )
    thread.close()
    assert page.status == 503
