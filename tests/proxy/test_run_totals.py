"""What a program has used is told apart from what others have."""

from __future__ import annotations

from sessionbridge.cli.exec.command import used
from sessionbridge.model import Usage
from sessionbridge.proxy import run_totals
from sessionbridge.proxy.run_totals import RunTotals
from sessionbridge.turns.exchange import Exchange, Outcome


def exchange(run: str | None, cost: float | None = 0.25, *, failed: bool = False) -> Exchange:
    outcome = Outcome(usage=None if failed else Usage(3, 8, 56, 300), cost_usd=cost)
    outcome.error = "401 NotLoggedIn" if failed else None
    return Exchange("messages", None, run=run, outcome=outcome)


def test_each_run_has_its_own() -> None:
    under_way = [exchange("a"), exchange(None)]
    totals = RunTotals(lambda: under_way)
    for one in (exchange("a"), exchange("b"), exchange("a", None), exchange("a", failed=True)):
        totals.ended(one)
    told = totals.document("a")
    assert (told["turns"], told["failed"], told["under_way"]) == (2, 1, 1)
    line = "2 turns, 1 failed, tokens in 6 out 16 cache 600+112, $0.2500 + ?"
    assert used(told) == line
    assert used(totals.document("c")) == "no turns."
    assert (totals.document(None)["turns"], totals.document(None)["under_way"]) == (3, 2)


def test_what_a_provider_used_that_could_not_answer_is_counted() -> None:
    totals, moved = RunTotals(list), exchange("a")
    moved.outcome.attempts = (exchange("a").outcome, exchange("a", failed=True).outcome)
    totals.ended(moved)
    told = totals.document("a")
    assert (told["turns"], told["failed"], told["output_tokens"]) == (2, 0, 16)


def test_the_oldest_are_forgotten() -> None:
    totals = RunTotals(list)
    for number in range(run_totals._MOST_RUNS):
        totals.ended(exchange(f"run-{number}"))
    totals.ended(exchange("run-0"))
    totals.ended(exchange("new"))
    assert totals.document("run-0")["turns"] == 2
    assert totals.document("run-1")["turns"] == 0
