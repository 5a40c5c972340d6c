"""List prices: for turns whose cost the CLI has not told, for what the cache has saved, and for
what a turn may cost that has not begun.

The CLI tells the cost only when a turn of the model is over, and one that waits for the client's
tools, or was cut, is not.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import genai_prices
from genai_prices.types import ModelPrice, PriceCalculation, calc_unit_price

from sessionbridge.model import Usage

# Claude's own prices come first; None is whoever the name of the model suggests.
_VENDORS = ("anthropic", None)
_MILLION = 1_000_000

_HOUR = 2
"""Times the price of fresh input, for what is written to be kept for an hour
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#pricing). Where `genai-prices`
has no price of its own for that; it has one for all models of Anthropic's own API."""

_DEAREST = {
    "haiku": "claude-haiku-4-5",
    "sonnet": "claude-sonnet-4-5",
    "fable": "claude-fable-5",
    "": "claude-opus-4-1",
}
"""Of each family since version 4, and of all."""


def list_price(model: str, usage: Usage) -> float | None:
    """US dollars, or None for a model without a known price."""
    hour = min(usage.cache_creation_1h_input_tokens, usage.cache_creation_input_tokens)
    counts = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_write_1h_tokens=hour,
        cache_read_tokens=usage.cache_read_input_tokens,
    )
    price = _calculated(model, counts)
    if price is None:
        return None
    total = price.total_price
    prices = price.model_price
    if hour and prices.cache_write_1h_mtok is None:
        # Taken for one that is kept for five minutes.
        known = _a_token(prices, usage.prompt_tokens, hour=False).written
        total += hour * (_a_token(prices, usage.prompt_tokens, hour=True).written - known)
    return float(total)


def has_price(model: str) -> bool:
    return _prices(model, _today()) is not None


def price_at_most(model: str, usage: Usage) -> float:
    """US dollars, for what is not known to be free. A model without a known price, such as an alias
    of the CLI, costs what the dearest of the family in its name does."""
    family = next(name for name in _DEAREST if name in model.lower())
    prices = _prices(model, _today()) or _prices(_DEAREST[family], _today())
    assert prices is not None
    read = usage.prompt_tokens
    hour = min(usage.cache_creation_1h_input_tokens, usage.cache_creation_input_tokens)
    token = _a_token(prices, read, hour=False)
    answer = calc_unit_price(prices.output_mtok or Decimal(0), 1, read, _MILLION)
    return float(
        token.fresh * usage.input_tokens
        + token.written * (usage.cache_creation_input_tokens - hour)
        + _a_token(prices, read, hour=True).written * hour
        + token.read * usage.cache_read_input_tokens
        + answer * usage.output_tokens
    )


def cache_rates(
    model: str, day: str, prompt_tokens: int, *, hour: bool = False
) -> tuple[float, float] | None:
    """US dollars that a token read from the cache saved, and that one written to it cost on top,
    against a fresh one of the same prompt; None for a model without a known price. What is written
    is kept for five minutes, or for an `hour`.

    `day` is the turn's, as 2026-11-22 (UTC), since prices change; long prompts can cost more.
    """
    prices = _prices(model, day)
    if prices is None or prices.input_mtok is None:
        return None
    token = _a_token(prices, prompt_tokens, hour=hour)
    return float(token.fresh - token.read), float(token.written - token.fresh)


class _Token(NamedTuple):
    """What one token of a prompt costs, in US dollars."""

    fresh: Decimal
    read: Decimal
    written: Decimal


def _a_token(prices: ModelPrice, prompt_tokens: int, *, hour: bool) -> _Token:
    """Where the cache has no price, its tokens cost what fresh ones do."""
    fresh, read, written, for_an_hour = (
        None if price is None else calc_unit_price(price, 1, prompt_tokens, _MILLION)
        for price in (
            prices.input_mtok,
            prices.cache_read_mtok,
            prices.cache_write_mtok,
            prices.cache_write_1h_mtok,
        )
    )
    fresh = fresh or Decimal(0)
    if hour and written is not None:
        written = _HOUR * fresh if for_an_hour is None else for_an_hour
    return _Token(fresh, fresh if read is None else read, fresh if written is None else written)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@lru_cache(maxsize=4096)
def _prices(model: str, day: str) -> ModelPrice | None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC)
    price = _calculated(model, genai_prices.Usage(), noon)
    return None if price is None else price.model_price


def _calculated(
    model: str, counts: genai_prices.Usage, at: datetime | None = None
) -> PriceCalculation | None:
    for vendor in _VENDORS:
        with suppress(LookupError):
            return genai_prices.calc_price(
                counts, model_ref=model, provider_id=vendor, genai_request_timestamp=at
            )
    return None
