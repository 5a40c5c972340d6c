"""Pages of a list (https://platform.openai.com/docs/api-reference/responses/input-items)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessionbridge.apis.common.body import refused
from sessionbridge.errors import ItemNotFound
from sessionbridge.names import shown

_DEFAULT = 20
_MOST = 100


def page(items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """The part of these items, the oldest first, that a query asks for. Raises `BridgeError`."""
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise refused("order", "must be asc or desc")
    limit = number(query.get("limit", str(_DEFAULT)))
    if limit is None or not 1 <= limit <= _MOST:
        raise refused("limit", f"must be an integer from 1 to {_MOST}")
    listed = list(items if order == "asc" else reversed(items))
    if (after := query.get("after")) is not None:
        listed = listed[place_of(after, listed, "after") + 1 :]
    data = listed[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(listed) > len(data),
    }


def number(text: str) -> int | None:
    """None where it is no whole number, or none of a sensible size."""
    return int(text) if len(text) < 20 and text.isascii() and text.isdigit() else None


def place_of(id_: str, items: Sequence[Mapping[str, Any]], param: str) -> int:
    """Raises `ItemNotFound`; `param` is where the request has the id."""
    for place, item in enumerate(items):
        if item["id"] == id_:
            return place
    raise ItemNotFound(f"Item with id {shown(id_)} not found.", param=param)
