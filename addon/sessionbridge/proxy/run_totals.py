"""What this process has answered, in all and for each program that `sessionbridge exec` runs.

Kept in memory, for whoever started the program to ask when it has ended. The ledger has the same
turns, but does not know which program asked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sessionbridge.model import Usage
from sessionbridge.turns.exchange import Exchange, Outcome

_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Total:
    """`turns` are those for which the model was asked; `failed` counts answers that were errors."""

    turns: int = 0
    failed: int = 0
    usage: Usage = Usage()
    cost_usd: float = 0.0
    unpriced: int = 0

    def with_(self, outcome: Outcome) -> Total:
        total = replace(self, failed=self.failed + (outcome.error is not None))
        for one in (*outcome.attempts, outcome):
            total = total._used(one)
        return total

    def _used(self, outcome: Outcome) -> Total:
        if outcome.usage is None:
            return self
        return replace(
            self,
            turns=self.turns + 1,
            usage=self.usage + outcome.usage,
            cost_usd=self.cost_usd + (outcome.cost_usd or 0.0),
            unpriced=self.unpriced + (outcome.cost_usd is None),
        )


class RunTotals:
    """`exchanges` tells the requests that are under way."""

    def __init__(self, exchanges: Callable[[], Sequence[Exchange]]) -> None:
        self._exchanges = exchanges
        self._all = Total()
        self._runs: dict[str, Total] = {}

    def ended(self, exchange: Exchange) -> None:
        self._all = self._all.with_(exchange.outcome)
        if exchange.run is not None:
            # Taken out first, so that the ones that ended long ago come to stand in front.
            before = self._runs.pop(exchange.run, Total())
            self._runs[exchange.run] = before.with_(exchange.outcome)
            if len(self._runs) > _MOST_RUNS:
                del self._runs[next(iter(self._runs))]

    def document(self, run: str | None) -> Mapping[str, Any]:
        """The total of a run, that of the process for None; `under_way` are requests whose answer
        is not complete yet."""
        total = self._all if run is None else self._runs.get(run, Total())
        mine = [one for one in self._exchanges() if run is None or one.run == run]
        return {
            "turns": total.turns,
            "failed": total.failed,
            **total.usage.counts,
            "cost_usd": total.cost_usd,
            "unpriced_turns": total.unpriced,
            "under_way": len(mine),
        }
