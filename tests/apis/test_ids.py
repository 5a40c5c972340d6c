"""Ids of answers tell by themselves that they were made here."""

from __future__ import annotations

import pytest

from sessionbridge.apis.common.ids import is_made_here, made, message_id


@pytest.mark.parametrize("kind", ["resp", "msg"])
@pytest.mark.parametrize("message", ["msg_01AbCdEfGhJkLmNpQrStUvWx", "msg_bdrk_01ab", "msg_1"])
def test_an_id_leads_to_the_message_it_was_made_of(kind: str, message: str) -> None:
    id_ = made(kind, message)
    assert is_made_here(id_) and message_id(kind, id_) == message


def test_those_given_before_they_had_a_mark_are_known() -> None:
    for before in ("resp_01AbCdEfGhJkLmNpQrStUvWx", "resp_bdrk_01AbCdEfGhJkLmNpQrStUvWx"):
        assert is_made_here(before)
        assert message_id("resp", before) == f"msg_{before.removeprefix('resp_')}"


@pytest.mark.parametrize(
    "id_",
    [
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",  # OpenAI's
        "msg_01AbCdEfGhJkLmNpQrStUvWx",  # the Messages API's
        "resp_",
        "_sb1",
        "sb1",
        "",
        "resp_sb\udcff",
        "resp_sbcaf\xe9",
    ],
)
def test_those_of_others_are_not_ours(id_: str) -> None:
    assert not is_made_here(id_)


@pytest.mark.parametrize("id_", ["resp_", "resp_\udcff", "conv_sb1", "", "resp"])
def test_what_cannot_be_one_leads_nowhere(id_: str) -> None:
    assert message_id("resp", id_) is None
