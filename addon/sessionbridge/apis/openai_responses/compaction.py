"""`POST /v1/responses/compact`
(https://platform.openai.com/docs/api-reference/responses/compact): the messages of the user in its
input, and behind them a sealed summary of all that was said. A client sends both on in the place of
the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sessionbridge.apis.common import ids
from sessionbridge.apis.common.body import Fields, NotBlank, check, load_body, refused
from sessionbridge.apis.common.collecting import Collecting
from sessionbridge.apis.common.openai_errors import error_body
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.common.summary import PROMPT, seal
from sessionbridge.apis.openai_responses.answer import response_id, usage
from sessionbridge.apis.openai_responses.request import ResponsesShape, turn_of
from sessionbridge.errors import AnswerUnfit, BridgeError
from sessionbridge.model import Finished, TurnRequest

_STREAMS = ("stream", "background")
"""What this address does not have."""


class _Request(Fields):
    input: Any = None
    previous_response_id: NotBlank | None = None
    conversation: Any = None


class CompactShape(ResponsesShape):
    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        fields = load_body(body, model)
        request = check(_Request, fields, "")
        if request.conversation is not None:
            rule = "is no field of this address; name the conversation's last response as"
            raise refused("conversation", f"{rule} previous_response_id, or send its items")
        items = _items(request)
        if not items and request.previous_response_id is None:
            raise refused("input", "is required")
        asked = {name: value for name, value in fields.items() if name not in _STREAMS}
        question = {"role": "user", "content": PROMPT}
        turn = turn_of({**asked, "input": [*items, question]})
        said = {"user_items": list(_of_the_user(items))}
        return replace(turn, purpose="summary", store=False, echo=said)

    def encoder(self, turn: TurnRequest) -> Encoder:
        return _Encoder(turn, int(self._clock()))


def _items(request: _Request) -> list[Any]:
    match request.input:
        case None:
            return []
        case str() as words:
            return [{"role": "user", "content": words}]
        case list() as items:
            return items
    raise refused("input", "must be a string or a list of items")


def _of_the_user(items: list[Any]) -> Iterator[dict[str, Any]]:
    for item in items:
        if isinstance(item, dict) and item.get("role") == "user":
            content = item["content"]
            if isinstance(content, str):
                content = [{"type": "input_text", "text": content}]
            yield {"type": "message", "role": "user", "content": content}


class _Encoder(Collecting):
    def __init__(self, turn: TurnRequest, created_at: int) -> None:
        super().__init__()
        self._turn = turn
        self._created_at = created_at

    def close(self, finished: Finished) -> bytes:
        """Raises `AnswerUnfit` where there is no summary: half of one would be taken for the
        whole."""
        text, started = self._answer.text.strip(), self._answer.started
        if finished.stop_reason != "end_turn" or not text or started is None:
            raise AnswerUnfit(
                f"The model has written no summary ({finished.stop_reason}); ask once more, or go "
                "on with the conversation as it is."
            )
        id_ = started.message_id
        item = {
            "id": ids.made("cmp", id_),
            "type": "compaction",
            "encrypted_content": seal(text, self._turn.key),
        }
        users = [
            {"id": f"{ids.made('msg', id_)}_u{number}", "status": "completed", **said}
            for number, said in enumerate(self._turn.echo["user_items"])
        ]
        document = {
            "id": response_id(id_),
            "object": "response.compaction",
            "created_at": self._created_at,
            "output": [*users, item],
            "usage": usage(finished),
        }
        return json.dumps(document).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)
