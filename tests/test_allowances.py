from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from sessionbridge.allowances import Allowance, Budget, Per, window
from sessionbridge.sessions.store.spending import BudgetUse


@pytest.mark.parametrize(
    ("per", "now", "begin", "end"),
    [
        ("day", "2026-11-30T23:59:59", "2026-11-30", "2026-12-01"),
        ("week", "2026-11-30T00:00:00", "2026-11-30", "2026-12-07"),  # a Monday
        ("week", "2026-11-29T23:59:59", "2026-11-23", "2026-11-30"),
        ("month", "2026-12-31T12:00:00", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_windows_are_those_of_the_calendar_in_utc(per: Per, now: str, begin: str, end: str) -> None:
    assert window(per, _at(now)) == (_at(begin), _at(end))


def test_a_budget_is_in_one_unit() -> None:
    assert Budget(per="day", usd=0).usd == 0  # nothing may be spent
    for given in ({}, {"usd": 1.0, "tokens": 5}, {"usd": -1.0}):
        with pytest.raises(ValidationError):
            Budget.model_validate({"per": "day", **given})


@pytest.mark.parametrize("unit", ["usd", "tokens"])
def test_a_budget_that_nobody_can_calculate_with_is_none(unit: str) -> None:
    for given in (10**400, 10**16):
        with pytest.raises(ValidationError):
            Budget.model_validate({"per": "day", unit: given})
    budget = Budget.model_validate({"per": "day", unit: 10**15})
    assert BudgetUse(budget, 1, 0).left == 10**15 - 1


def test_there_is_one_budget_of_each_kind() -> None:
    day, other = Budget(per="day", usd=1), Budget(per="day", usd=2)
    assert Allowance(budgets=(day, Budget(per="week", usd=1), Budget(per="day", tokens=1)))
    with pytest.raises(ValidationError, match="more than one in usd a day; keep one"):
        Allowance(budgets=(day, other))


def test_without_limits_there_is_nothing_to_be_counted() -> None:
    assert not Allowance().is_limited
    assert Allowance(turns_at_once=1).is_limited
    assert Allowance(budgets=(Budget(per="day", usd=0),)).is_limited


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
