"""What an API shape promises: bytes in, a `TurnRequest` out; deltas in, that API's own bytes out.

Shapes do no I/O. Each lives in a file named after its API and knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sessionbridge.errors import BridgeError
from sessionbridge.model import Finished, Said, TurnRequest


class Encoder(Protocol):
    """Writes one answer. Stateful: one encoder serves one request."""

    content_type: str

    def delta(self, delta: Said) -> bytes:
        """What the client is sent now; empty where the API says nothing at this point."""

    def ping(self) -> bytes:
        """Keeps a silent connection open; empty where the answer is one JSON document."""

    def close(self, finished: Finished) -> bytes:
        """The end of the answer; for JSON answers the whole of it."""

    def error(self, error: BridgeError) -> bytes:
        """The API's way of failing after the answer has begun."""


class Shape(Protocol):
    """One API. `name` is what the ledger calls it."""

    name: str

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        """`model` is that of a body that names none. Raises `BadRequest`, naming the field, for
        what this API would refuse too."""

    def encoder(self, turn: TurnRequest) -> Encoder:
        """An encoder for a stream or for one JSON document, as the turn asks."""

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        """The input of a call that the model has written, as `parse` will read it when the client
        sends it back."""

    def status(self, error: BridgeError) -> int:
        """The status of an error response, where this API has one of its own for that error."""

    def error_body(self, error: BridgeError) -> bytes:
        """The JSON body of an error response."""
