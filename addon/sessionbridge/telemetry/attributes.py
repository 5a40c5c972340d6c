"""What a turn tells of itself, by the names of OpenTelemetry's conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai, of which the newest package,
opentelemetry-semantic-conventions, has the names. What they have no name for is `sessionbridge.…`.
"""

from __future__ import annotations

from typing import Any

from sessionbridge.turns.exchange import Exchange, Outcome

type Attributes = dict[str, Any]

_OPERATION = "chat"
_ENDS = ("commit", "close", "pass_on", "prepare")
"""Steps that a turn which has gone well ends in."""


def name(exchange: Exchange) -> str:
    asked = exchange.outcome.asked
    return f"{_OPERATION} {_clean(asked.model)}" if asked else _OPERATION


def error(exchange: Exchange) -> str | None:
    """The class of the error that the client got, or `left` where the client did not wait for the
    end; None where all is well."""
    outcome = exchange.outcome
    if outcome.error is not None:
        return outcome.error.partition(" ")[2]
    last = outcome.steps[-1][0] if outcome.steps else None
    return None if last in _ENDS else "left"


def first_chunk(outcome: Outcome) -> float | None:
    """Seconds until an answer began that was streamed."""
    streamed = outcome.asked is not None and outcome.asked.stream
    return outcome.ttft_ms / 1000 if streamed and outcome.response_id else None


def of_span(exchange: Exchange) -> Attributes:
    outcome, asked = exchange.outcome, exchange.outcome.asked
    origin, plan = outcome.origin or exchange.origin, outcome.plan
    return _known(
        {
            **_who(exchange),
            **used(outcome),
            "error.type": error(exchange),
            "gen_ai.conversation.id": origin.external_id if origin else None,
            "gen_ai.output.type": "json" if asked and asked.parameters.schema else None,
            "gen_ai.request.max_tokens": asked.parameters.max_tokens if asked else None,
            "gen_ai.request.stream": True if asked and asked.stream else None,
            "gen_ai.response.finish_reasons": outcome.stop_reason and [outcome.stop_reason],
            "gen_ai.response.id": outcome.response_id or None,
            "gen_ai.response.time_to_first_chunk": first_chunk(outcome),
            "sessionbridge.api": exchange.api,
            "sessionbridge.platform": origin.platform if origin else None,
            "sessionbridge.plan": plan.name if plan else None,
            "sessionbridge.reason": plan.reason if plan else None,
            "sessionbridge.process": outcome.process,
            "sessionbridge.session": outcome.session,
            "sessionbridge.turn": outcome.turn,
            "sessionbridge.node": outcome.node,
        }
    )


def of_metrics(exchange: Exchange) -> Attributes:
    return _known(_who(exchange))


def _who(exchange: Exchange) -> Attributes:
    """What few values are told of, so that metrics may have it."""
    outcome = exchange.outcome
    return {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": outcome.vendor,
        "gen_ai.request.model": outcome.asked.model if outcome.asked else None,
        "gen_ai.response.model": outcome.model,
        "sessionbridge.client": exchange.attempt.client or None,
        "sessionbridge.provider": outcome.provider,
    }


def used(outcome: Outcome) -> Attributes:
    """Of a turn that was answered here: another node tells of its own. The input is all that was
    read, as the conventions have it, also what the cache had."""
    usage = outcome.usage
    if usage is None or outcome.node is not None:
        return {}
    return {
        "sessionbridge.cost_usd": outcome.cost_usd,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_input_tokens,
    }


def _known(told: Attributes) -> Attributes:
    return {
        name: _clean(value) if isinstance(value, str) else value
        for name, value in told.items()
        if value is not None
    }


def _clean(text: str) -> str:
    """Without the halves of characters that a header may bring: with one the whole batch of spans
    could not be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()
