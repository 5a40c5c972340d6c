"""List prices, for turns whose cost the CLI has not told yet: it does so only when a turn of the
model is over, and one that waits for the client's tools, or was cut, is not."""

from __future__ import annotations

import genai_prices

from sessionbridge.turn import Usage


def list_price(model: str, usage: Usage) -> float | None:
    """US dollars, or None for a model without a known price."""
    counts = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
    )
    try:
        price = genai_prices.calc_price(counts, model_ref=model, provider_id="anthropic")
    except LookupError:
        return None
    return float(price.total_price)
