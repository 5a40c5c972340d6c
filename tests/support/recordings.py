"""Recorded requests as they were sent. What is abridged in them is told by a text in its place."""

from __future__ import annotations

from typing import Any


def without_notes(request: dict[str, Any]) -> dict[str, Any]:
    """Of a list of tools the first is recorded, and a note of what the others were called."""
    if "tools" not in request:
        return request
    return request | {"tools": [tool for tool in request["tools"] if isinstance(tool, dict)]}
