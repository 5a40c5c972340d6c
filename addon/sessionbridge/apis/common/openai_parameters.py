"""What both OpenAI APIs spell the same way of how an answer is wanted: the effort of reasoning, the
form of the answer, and functions that take nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sessionbridge.apis.common.body import refused
from sessionbridge.model import Effort

LeastEffort = Literal["none", "minimal"]
FormatType = Literal["text", "json_object", "json_schema"]

NO_PARAMETERS = {"type": "object", "properties": {}}


def is_free_choice(choice: Any) -> bool:
    """Whether a `tool_choice` has its effect: none, or among some, as the model sees fit. The CLI
    cannot make a model call a tool."""
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        # Chat has the list and the mode one level further down.
        inner = choice.get("allowed_tools")
        return bool((inner if isinstance(inner, dict) else choice).get("mode") == "auto")
    return choice in (None, "auto", "none")


def effort_of(wanted: Literal[LeastEffort, Effort] | None) -> Effort | None:
    """The least reasoning there is for a Claude model is none."""
    return None if wanted == "none" or wanted == "minimal" else wanted


def schema_of(
    kind: FormatType, given: Mapping[str, Any] | None, field: str
) -> Mapping[str, Any] | None:
    """What the answer has to fulfil. The client's own schema is `given`, and stands at `field`."""
    match kind:
        case "text":
            return None
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            if given is None:
                raise refused(field, "is required")
            return given
