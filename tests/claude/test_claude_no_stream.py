"""An API that gives no stream where one is asked for: it is told, and nothing is doubled."""

from __future__ import annotations

import json

import pytest

from sessionbridge.cli.demo import scripted_api
from sessionbridge.errors import BridgeError
from sessionbridge.model import Usage
from tests.support.claude_cli import Stage, job
from tests.support.live_processes import stage

__all__ = ["stage"]

WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Whole"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


@pytest.mark.parametrize(
    ("given", "status", "asked"),
    [("none", 502, [True, False]), ("json", 502, [True]), ("empty", 502, [True])],
)
async def test_the_client_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, given: str, status: int, asked: list[object]
) -> None:
    """Where the API has no streams at all the CLI asks once more without one, whatever it is told
    (measured with 2.1.330); the answer to that comes too late to be passed on as one."""
    seen: list[object] = []

    async def post(handler: scripted_api._Handler) -> None:
        streamed = json.loads(handler.request.body).get("stream")
        seen.append(streamed)
        if streamed and given == "none":
            return handler._fail(scripted_api.Failure(404, "not_found_error", "no streams"))
        if streamed and given == "empty":
            handler.set_header("content-type", "text/event-stream")
            await handler.finish()
        else:
            await handler.finish(WHOLE)

    monkeypatch.setattr(scripted_api._Handler, "post", post)
    asked_for = job("Hi")
    with pytest.raises(BridgeError) as caught:
        await stage.answer(asked_for)
    assert caught.value.status == status
    assert seen == asked
    if given == "none":
        assert "could not be had as a stream" in caught.value.message
        spent = asked_for.meter.read()
        assert spent is not None and spent.usage == Usage(1, 1)
