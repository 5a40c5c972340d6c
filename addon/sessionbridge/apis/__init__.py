"""The API shapes, by the name the ledger calls them."""

from __future__ import annotations

from sessionbridge.apis.anthropic_messages.request import MessagesShape
from sessionbridge.apis.common.shape import Shape
from sessionbridge.apis.ollama_chat.request import OllamaShape
from sessionbridge.apis.openai_chat.request import ChatShape
from sessionbridge.apis.openai_responses.compaction import CompactShape
from sessionbridge.apis.openai_responses.request import ResponsesShape
from sessionbridge.apis.openai_responses.websocket import FramesShape

SHAPES: dict[str, Shape] = {
    shape.name: shape for shape in (MessagesShape(), ChatShape(), ResponsesShape(), OllamaShape())
}

SUMMARIES: dict[str, Shape] = {"responses": CompactShape()}
"""Those that have an address of its own where a summary is asked for."""

FRAMES: dict[str, Shape] = {"responses": FramesShape()}
"""Those that are spoken on a WebSocket too, as they are there."""
