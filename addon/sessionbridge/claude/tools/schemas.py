"""JSON Schemas of tools as the Claude CLI takes them.

Measured with 2.1.332: of a server with one schema that does not say `"type": "object"` itself, or
whose `properties` are no object, it offers no tool at all. What stands at the top beside the type
(`anyOf`, `oneOf`, `allOf`) it replaces by the properties of all alternatives, so the rule itself is
told in the description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_COMBINED = ("anyOf", "oneOf", "allOf")


def taken_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in a form of which nothing is lost but what `dropped_rule` tells."""
    taken = {**schema, "type": "object"}
    if not isinstance(taken.get("properties", {}), dict):
        del taken["properties"]
    return taken


def dropped_rule(schema: Mapping[str, Any]) -> str:
    """What the CLI leaves out, in words; empty where it is nothing."""
    dropped = {name: schema[name] for name in _COMBINED if name in schema}
    if not dropped:
        return ""
    return f"The input must also match this JSON Schema: {json.dumps(dropped, ensure_ascii=False)}"
