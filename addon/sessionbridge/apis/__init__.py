"""The API shapes, by the name the ledger calls them."""

from __future__ import annotations

from sessionbridge.apis.anthropic_messages import MessagesShape
from sessionbridge.apis.openai_chat import ChatShape
from sessionbridge.apis.openai_responses import ResponsesShape
from sessionbridge.apis.shape import Shape

SHAPES: dict[str, Shape] = {
    shape.name: shape for shape in (MessagesShape(), ChatShape(), ResponsesShape())
}
