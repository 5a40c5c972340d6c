"""What a client or a provider may spend, and how fast. Windows are those of the calendar in UTC, a
week begins on Monday: so all nodes have the same, wherever they stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Per = Literal["day", "week", "month"]

_MOST = 10**15
"""Up to which a float, or a number of a browser's, tells each whole number."""


class Budget(BaseModel):
    """At most so many US dollars, or tokens read and written, in each window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per: Per
    usd: Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)] | None = None
    tokens: Annotated[int, Field(ge=0, le=_MOST)] | None = None

    @model_validator(mode="after")
    def _of_one(self) -> Budget:
        if (self.usd is None) == (self.tokens is None):
            raise ValueError("a budget is in usd or in tokens: give one of them")
        return self

    @property
    def unit(self) -> Literal["usd", "tokens"]:
        return "usd" if self.tokens is None else "tokens"


class Allowance(BaseModel):
    """Without limits where nothing is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budgets: tuple[Budget, ...] = ()
    turns_a_minute: Annotated[int, Field(ge=1)] | None = None
    turns_at_once: Annotated[int, Field(ge=1)] | None = None

    @field_validator("budgets")
    @classmethod
    def _one_of_each(cls, budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        """Of two, one would never be reached, and metrics could not tell them apart."""
        kinds = [f"{one.unit} a {one.per}" for one in budgets]
        if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
            raise ValueError(f"there is more than one in {min(twice)}; keep one")
        return budgets

    @property
    def is_limited(self) -> bool:
        return bool(self.budgets or self.turns_a_minute or self.turns_at_once)


class ClientRules(Allowance):
    """Also which `providers` a client may name itself, and whether another may answer where its own
    cannot (`fallback`)."""

    providers: tuple[str, ...] = ()
    fallback: bool = True


def window(per: Per, now: float) -> tuple[float, float]:
    """Begin and end of the one that this moment is in, in epoch seconds."""
    moment = datetime.fromtimestamp(now, UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match per:
        case "day":
            begin, end = day, day + timedelta(days=1)
        case "week":
            begin = day - timedelta(days=day.weekday())
            end = begin + timedelta(days=7)
        case "month":
            begin = day.replace(day=1)
            end = (begin + timedelta(days=31)).replace(day=1)
    return begin.timestamp(), end.timestamp()
