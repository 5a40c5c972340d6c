"""List prices: for turns whose cost the CLI has not told, and for what the cache has saved.

The CLI tells the cost only when a turn of the model is over, and one that waits for the client's
tools, or was cut, is not.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

import genai_prices
from genai_prices.types import ModelPrice, PriceCalculation, calc_unit_price

from sessionbridge.turn import Usage

# Claude's own prices come first; None is whoever the name of the model suggests.
_VENDORS = ("anthropic", None)
_MILLION = 1_000_000


def list_price(model: str, usage: Usage) -> float | None:
    """US dollars, or None for a model without a known price."""
    counts = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
    )
    price = _calculated(model, counts)
    return None if price is None else float(price.total_price)


def cache_rates(model: str, day: str, prompt_tokens: int) -> tuple[float, float] | None:
    """US dollars that a token read from the cache saved, and that one written to it cost on top,
    against a fresh one of the same prompt; None for a model without a known price.

    `day` is the turn's, as 2026-11-22 (UTC), since prices change; long prompts can cost more.
    """
    prices = _prices(model, day)
    if prices is None or prices.input_mtok is None:
        return None
    fresh = prices.input_mtok
    read, written = (
        fresh if price is None else price
        for price in (prices.cache_read_mtok, prices.cache_write_mtok)
    )
    a_fresh, a_read, a_written = (
        calc_unit_price(price, 1, prompt_tokens, _MILLION) for price in (fresh, read, written)
    )
    return float(a_fresh - a_read), float(a_written - a_fresh)


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
