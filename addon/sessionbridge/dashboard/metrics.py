"""What Prometheus scrapes: the ledger's sums and what goes on now.

The counters are read from the ledger for each scrape, so they equal it and outlive a restart; only
errors, which no ledger has, are counted in this process. No label holds anybody's id, and names of
clients and providers are bounded in number (`figures.NAMED`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sessionbridge.allowances import Allowance
from sessionbridge.dashboard.state import State
from sessionbridge.model import Usage
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.reports.budgets import LISTED, NamedBudget
from sessionbridge.sessions.reports.figures import Figures, Histogram
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread

_WHOSE = ("client", "provider")


class Errors:
    """How often each kind of error was given to a client since this process started."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, name: str) -> None:
        """`name` is that of the error's class."""
        self._counts[name] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        return self._counts


async def exposition(
    reports: StoreThread | None,
    state: State,
    errors: Errors,
    providers: Mapping[str, Allowance],
) -> bytes:
    """The text format; `providers` are what each may spend. Raises `StoreUnavailable`: figures that
    are not known are not zero."""
    registry = CollectorRegistry()
    registry.register(_Now(state, errors))
    if reports is not None:
        registry.register(_Ledger(await reports.ask(SessionStore.figures)))
        registry.register(_Plans(await reports.ask(SessionStore.plan_windows), time.time()))
        registry.register(_Budgets(await reports.ask(lambda store: store.budgets(providers))))
    return generate_latest(registry)


class _Now(Collector):
    def __init__(self, state: State, errors: Errors) -> None:
        self._state = state
        self._errors = errors

    def collect(self) -> Iterator[Metric]:
        state = self._state
        yield _gauge("live_processes", "CLI processes of conversations.", state.live)
        yield _gauge("spare_processes", "CLI processes started ahead.", state.spares)
        yield _gauge("turns_running", "Turns under way.", state.running)
        yield _gauge("turns_waiting", "Turns that wait for room.", state.waiting)
        errors = _counter("errors", "Errors given to clients, by class.", "error")
        for name, count in self._errors.counts.items():
            errors.add_metric([name], count)
        yield errors


class _Ledger(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield self._turns()
        yield self._tokens()
        yield self._for_an_hour()
        yield self._cost()
        yield _histogram(
            "time_to_first_token_seconds",
            "From a bridged request until the model began to answer.",
            self._figures.first_token,
        )
        yield _histogram(
            "turn_duration_seconds",
            "From a bridged request until its answer had ended.",
            self._figures.duration,
        )

    def _turns(self) -> Metric:
        labels = ("plan", "reason", "process", "api", *_WHOSE)
        family = _counter("turns", "Turns in the ledger.", *labels)
        for row in self._figures.turns:
            how = (row.plan, row.reason, row.process or "", row.api)
            family.add_metric([*how, *astuple(row.whose)], row.turns)
        return family

    def _tokens(self) -> Metric:
        family = _counter("tokens", "Tokens in the ledger.", "kind", "model", *_WHOSE)
        for row in self._figures.used:
            for kind, count in _kinds(row.usage).items():
                family.add_metric([kind, row.model, *astuple(row.whose)], count)
        return family

    def _for_an_hour(self) -> Metric:
        """Not a kind of its own: they are part of one, and would be in a sum of all twice."""
        text = "Of the tokens written to the cache, those kept for an hour."
        family = _counter("cache_write_1h_tokens", text, "model", *_WHOSE)
        for row in self._figures.used:
            count = row.usage.cache_creation_1h_input_tokens
            family.add_metric([row.model, *astuple(row.whose)], count)
        return family

    def _cost(self) -> Metric:
        """A model of which no turn told its cost has none here: it is unknown, not zero."""
        text = "US dollars in the ledger, where known."
        family = _counter("cost_usd", text, "model", *_WHOSE)
        for row in self._figures.used:
            if row.cost_usd is not None:
                family.add_metric([row.model, *astuple(row.whose)], row.cost_usd)
        return family


class _Plans(Collector):
    """Of windows that are open: of one that has reset nothing is known."""

    def __init__(self, windows: Sequence[PlanWindow], now: float) -> None:
        self._windows = [window for window in windows if window.is_open(now)]

    def collect(self) -> Iterator[Metric]:
        yield self._gauge("used_ratio", "Share that is used.", lambda one: one.used)
        rate = "Share used in an hour, on average since the window began."
        yield self._gauge("used_per_hour_ratio", rate, lambda one: one.used_per_hour)
        resets = "When the window resets, in epoch seconds."
        yield self._gauge("reset_timestamp_seconds", resets, lambda one: one.resets_at)

    def _gauge(self, name: str, text: str, value: Callable[[PlanWindow], float | None]) -> Metric:
        whole = f"sessionbridge_plan_window_{name}"
        family = GaugeMetricFamily(
            whole, f"Of a login's plan: {text}", labels=("provider", "window")
        )
        for window in self._windows:
            if (known := value(window)) is not None:
                family.add_metric([window.provider, window.name], known)
        return family


class _Budgets(Collector):
    """Of clients and of providers, those that are used most."""

    def __init__(self, budgets: Sequence[NamedBudget]) -> None:
        self._budgets = budgets[:LISTED]

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sessionbridge_budget_used_ratio",
            "Share of a budget that is used, what is reserved included.",
            labels=(*_WHOSE, "unit", "per"),
        )
        for one in self._budgets:
            names = [one.name if one.whose == whose else "" for whose in _WHOSE]
            family.add_metric([*names, one.budget.unit, one.budget.per], one.share)
        yield family


def _kinds(usage: Usage) -> dict[str, int]:
    return {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_input_tokens,
        "cache_write": usage.cache_creation_input_tokens,
    }


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"sessionbridge_{name}", text, labels=labels)


def _gauge(name: str, text: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sessionbridge_{name}", text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    within = [(str(bound), float(count)) for bound, count in histogram.buckets]
    return HistogramMetricFamily(
        f"sessionbridge_{name}",
        text,
        buckets=[*within, ("+Inf", float(histogram.count))],
        sum_value=histogram.seconds,
    )
