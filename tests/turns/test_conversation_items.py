"""Items of a conversation that was created: what becomes of odd ones, and what is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis.common.summary import seal, shown
from sessionbridge.apis.openai_responses.conversations import added
from sessionbridge.claude.transcript.conversations import Added
from sessionbridge.errors import BadRequest, ConversationNotFound
from sessionbridge.stored.seals import Seals
from tests.support.bridge_fixtures import House, house
from tests.turns.test_in_conversation import SHOWN, Talk, talk

__all__ = ["house", "talk"]

SUMMARY = "The user is Ann."
TOLD = shown(SUMMARY)["text"]
THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
REQUEST = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "files",
    "name": "read",
    "arguments": "{}",
}
DECISION = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}


async def sealed(house: House, text: str = SUMMARY) -> dict[str, Any]:
    key = await Seals(house.settings.home, house.thread).key()
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": seal(text, key)}


def asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def test_a_summary_among_what_is_given_is_opened(house: House, talk: Talk) -> None:
    item = await sealed(house)
    await talk.create([item])
    assert (await talk.say("Two")).status == 200
    assert talk.seen == [("user", f"{TOLD}|Two")]
    await talk.add(item)
    await talk.say("Three")
    assert talk.seen[2:] == [("user", f"{TOLD}|Three")]
    assert [one["encrypted_content"] for one in await talk.items() if "encrypted_content" in one]


async def test_a_summary_that_a_turn_brought_is_opened_again(house: House, talk: Talk) -> None:
    await talk.say([await sealed(house), asked("Two")])
    first, *_ = await talk.items()
    await talk.kept.delete_item(talk.id, "ann", first["id"])
    assert (await talk.say("Three")).status == 200
    seen = [("assistant", "First"), ("user", f"{TOLD}|Two"), ("assistant", "Second")]
    assert talk.seen == [*seen, ("user", "Three")]


@pytest.mark.parametrize("first", [True, False])
async def test_a_summary_that_cannot_be_opened_is_not_added(
    house: House, talk: Talk, first: bool
) -> None:
    item = {"type": "compaction", "encrypted_content": "sbAAAA"}
    with pytest.raises(BadRequest) as refused:
        if first:
            await talk.kept.create("ann", [asked("One"), item], {})
        else:
            await talk.add(asked("One"), item)
    assert refused.value.code == "invalid_encrypted_content"
    assert refused.value.param == "items.1.encrypted_content"


async def test_the_key_for_a_summary_is_lost(house: House, talk: Talk) -> None:
    await talk.create([await sealed(house)])
    (house.settings.home / "summary-key").unlink()
    error = (await talk.say("Two")).json["error"]
    (item,) = await talk.items()
    assert error["code"] == "invalid_encrypted_content"
    assert error["param"] == f"conversation.items.{item['id']}.encrypted_content"


@pytest.mark.parametrize("given", [THOUGHT, {**THOUGHT, "id": 5}, {**THOUGHT, "id": None}, REQUEST])
async def test_no_two_items_have_one_id(talk: Talk, given: dict[str, Any]) -> None:
    await talk.create([given, given])
    await talk.add(given)
    await talk.say([given, asked("Two")])
    ids = [item["id"] for item in await talk.items()]
    assert len(set(ids)) == len(ids) == 6
    assert all(isinstance(id_, str) for id_ in ids)
    paged: list[str] = []
    while True:
        after = {"after": paged[-1]} if paged else {}
        page = await talk.kept.items(talk.id, "ann", {"limit": "1", "order": "asc", **after})
        paged += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
    assert paged == ids


async def test_an_item_may_be_named_by_another(talk: Talk) -> None:
    await talk.create([REQUEST])
    await talk.add(DECISION)
    assert (await talk.say("Two")).status == 200
    shell = {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1"}
    action = {"type": "exec", "command": ["ls"], "env": {}}
    output = {"type": "local_shell_call_output", "id": "lsh_1", "output": "README.md"}
    await talk.create([asked("One"), {**shell, "action": action}, output])
    await talk.add(asked("And?"))
    assert (await talk.say("Two")).status == 200
    ids = [item["id"] for item in await talk.items()]
    assert (ids[1], len(set(ids))) == ("lsh_1", len(ids))


async def test_what_is_wrong_is_named_where_it_stands(talk: Talk) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    await talk.create([asked("One"), call])
    item = (await talk.items())[1]["id"]
    error = (await talk.say("Two")).json["error"]
    assert error["param"] == f"conversation.items.{item}"
    result = {"type": "function_call_output", "call_id": "c2", "output": "x"}
    error = (await talk.say([result])).json["error"]
    assert error["param"] == "input.0"


async def test_of_what_is_no_name_nothing_is_said(talk: Talk) -> None:
    with pytest.raises(ConversationNotFound) as error:
        await talk.kept.retrieve("my secret prompt", "ann")
    assert error.value.message == "Conversation with id this value not found."


async def test_one_without_an_owner_is_nobodys(house: House, talk: Talk) -> None:
    id_, _ = await house.conversations.create("", [], {})
    with pytest.raises(ConversationNotFound):
        await talk.kept.retrieve(id_, "ann")


async def test_a_damaged_file(house: House, talk: Talk) -> None:
    await talk.say("Two")
    file = house.transcripts / f"{talk.id}.conversation"
    whole = file.read_text()
    odd = [
        '{"after": [], "items": [], "entry": "x"}',
        '{"after": null, "items": [5, {}, {"id": 5}], "entry": {}}',
        '{"after": null, "items": [5, {}, {"id": 5}, [], null], "entry": null}',
        '{"created_at": 1e999, "caller": "ann", "metadata": {}}',
        "[" * 100_000,
        "null",
        '{"after": "t", "items": [], "entry": "t"}',
    ]
    file.write_text("\n".join([*odd, whole, *odd]))
    assert (await talk.kept.retrieve(talk.id, "ann"))["id"] == talk.id
    assert await talk.texts() == [*(text for _, text in SHOWN), "Two", "Second"]
    assert (await talk.say("Three")).status == 200
    await talk.create([])
    await house.conversations.add(talk.id, Added(None, [{"id": "i"}]))
    error = (await talk.say("Three")).json["error"]
    assert error["param"] == "conversation.items.i.type"


@pytest.mark.parametrize("kind", [{}, {"type": "item_reference"}, {"type": None}])
def test_a_reference_is_not_added(kind: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        added(json.dumps({"items": [{**kind, "id": "msg_1"}]}).encode())
    assert refused.value.param == "items.0.type"


async def test_all_of_what_is_asked_was_given_before(talk: Talk) -> None:
    await talk.create([asked("One")])
    assert (await talk.say(None)).status == 200
    assert talk.seen == [("user", "One")]


async def test_what_is_only_named_is_kept_and_the_rest_as_it_was_given(
    house: House, talk: Talk
) -> None:
    (said,) = (await talk.say("Two")).json["output"]
    image = {"type": "input_image", "image_url": "https://e.x/a.png", "detail": "low"}
    given: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        await sealed(house),
        {"role": "user", "content": [image]},
        {"id": said["id"]},
        {"type": "item_reference", "id": "rs_1"},
        asked("Three"),
    ]
    assert (await talk.say(given)).status == 200
    *_, developer, summary, picture, named, three, _ = await talk.items()
    assert developer["role"] == "developer"
    assert summary["encrypted_content"] == given[1]["encrypted_content"]
    assert picture["content"] == [image]
    assert named["content"] == said["content"]
    assert three["content"][0]["text"] == "Three"
    seen = house.dispatcher.seen[-1]
    house.dispatcher.lose(house.dispatcher.jobs[-1].session_id)
    await talk.say("Four")
    assert house.dispatcher.seen[-1][: len(seen)] == seen
