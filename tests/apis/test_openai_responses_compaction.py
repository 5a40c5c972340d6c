"""Summaries in the Responses API: what is asked for at their address, and items that bring one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sessionbridge.apis import SHAPES, SUMMARIES
from sessionbridge.apis.common.summary import PROMPT, opened, seal
from sessionbridge.errors import AnswerUnfit, BadRequest
from sessionbridge.model import Finished, Started, TextDelta, Usage

SHAPE = SUMMARIES["responses"]
KEY = Fernet.generate_key()
HELLO = {"role": "user", "content": "Hello"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def test_the_question_stands_behind_the_input() -> None:
    turn = SHAPE.parse(body(input="Hello", instructions="Be brief."))
    assert turn.purpose == "summary"
    assert [b["text"] for m in turn.messages for b in m.blocks] == ["Hello", PROMPT]
    assert (turn.system, turn.store) == ("Be brief.", False)
    later = SHAPE.parse(body(previous_response_id="resp_sb1"))
    assert [b["text"] for m in later.messages for b in m.blocks] == [PROMPT]


def test_without_anything_to_summarise_it_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        SHAPE.parse(body(instructions="Be brief."))
    assert refused.value.param == "input"


@pytest.mark.parametrize("named", ["conv_1", {"id": "conv_sb" + 32 * "0"}])
def test_a_conversation_is_no_field_of_its(named: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        SHAPE.parse(body(input="Hello", conversation=named))
    assert refused.value.param == "conversation"
    SHAPE.parse(body(input="Hello", conversation=None))


def answered(text: str, stop_reason: str = "end_turn") -> Any:
    turn = SHAPE.parse(body(input=[HELLO, {"role": "assistant", "content": "Hi"}]))
    encoder = SHAPE.encoder(replace(turn, key=KEY))
    encoder.delta(Started("msg_1", "m", Usage()))
    encoder.delta(TextDelta(0, text))
    return json.loads(encoder.close(Finished("s", (), stop_reason, Usage(1, 2), 0.1)))


def test_the_answer_has_the_words_of_the_user_and_the_sealed_summary() -> None:
    told = answered("They met.")
    assert (told["object"], told["id"]) == ("response.compaction", "resp_sb1")
    said, item = told["output"]
    assert said["content"] == [{"type": "input_text", "text": "Hello"}]
    assert opened(item["encrypted_content"], KEY) == "They met."
    assert opened(item["encrypted_content"], Fernet.generate_key()) is None
    assert told["usage"]["total_tokens"] == 3


@pytest.mark.parametrize("odd", ["sb", "sbé", "sb\ud800", "sbgAAAAA=="])
def test_what_nobody_can_have_sealed_is_not_opened(odd: str) -> None:
    assert opened(odd, KEY) is None


@pytest.mark.parametrize(("text", "reason"), [("They", "max_tokens"), (" ", "end_turn")])
def test_half_a_summary_is_none(text: str, reason: str) -> None:
    with pytest.raises(AnswerUnfit, match=reason):
        answered(text, reason)


def test_an_item_of_another_maker_is_left_out_and_named() -> None:
    item = {"type": "compaction", "encrypted_content": "gAAAAA"}
    turn = SHAPES["responses"].parse(body(input=[item, HELLO]))
    assert (turn.ignored, turn.summarized) == (("input.compaction",), False)
    ours = {**item, "encrypted_content": seal("They met.", KEY)}
    assert SHAPES["responses"].parse(body(input=[ours, HELLO])).summarized
