"""The headers of a response: what the user may know of the turn."""

from __future__ import annotations

from collections.abc import Sequence

from sessionbridge.apis.openai_responses.answer import response_id
from sessionbridge.errors import BridgeError
from sessionbridge.turns.exchange import Exchange

PROVIDER_HEADER = "x-sessionbridge-provider"
"""The Claude account that has answered, where there are several."""

NODE_HEADER = "x-sessionbridge-node"
"""The address of the node that has answered, where that is another than was asked."""

_JSON = "application/json"
_LONG = 60
"""Seconds. Anthropic's library for Python waits for as long as it is told to, be it a day, whatever
its own timeout (measured with 2.14.0)."""

_NOT_AGAIN = ("x-should-retry", "false")
"""The libraries of Anthropic and OpenAI obey it."""

_MOST_NAMED = 50
"""Parameters without effect; clients take some kilobytes of headers, and names are 64 long."""


def headers(exchange: Exchange, content_type: str) -> list[tuple[str, str]]:
    """A stream's headers leave before its counts are known."""
    outcome, plan = exchange.outcome, exchange.outcome.plan
    told = [("content-type", content_type), ("cache-control", "no-cache")]
    if plan is not None and outcome.session is not None:
        told += [
            ("x-sessionbridge-session", outcome.session),
            ("x-sessionbridge-plan", plan.name),
            ("x-sessionbridge-reason", plan.reason),
        ]
    if exchange.wanted.provider is not None:
        told.append((PROVIDER_HEADER, exchange.wanted.provider))
    if exchange.node is not None:
        told.append((NODE_HEADER, exchange.node))
    if outcome.given_id is not None:
        told.append(("x-sessionbridge-response", response_id(outcome.given_id)))
    if outcome.ignored:
        told.append(("x-sessionbridge-ignored", _listed(outcome.ignored)))
    if outcome.turn is not None:
        told.append(("x-sessionbridge-turn", str(outcome.turn)))
    if outcome.usage is not None:
        counts = (f"{name}={count}" for name, count in outcome.usage.counts.items())
        told.append(("x-sessionbridge-usage", ", ".join(counts)))
    if outcome.cost_usd is not None:
        told.append(("x-sessionbridge-cost-usd", f"{outcome.cost_usd:.6f}"))
    return [*told, *outcome.limits]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join([*names[:_MOST_NAMED], *([f"(and {more} more)"] if more > 0 else [])])


def error_headers(exchange: Exchange, failure: BridgeError) -> list[tuple[str, str]]:
    told = headers(exchange, _JSON)
    more = list(failure.headers)
    if (seconds := failure.retry_after) is not None:
        told.append(("retry-after", str(seconds)))
        if seconds > _LONG and _NOT_AGAIN not in more:
            more.append(_NOT_AGAIN)
    return [*told, *more]
