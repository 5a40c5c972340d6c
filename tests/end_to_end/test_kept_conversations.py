"""Conversations that are created at the API, by the official client: what is kept of them, and what
the model sees of it, over restarts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from tests.end_to_end.test_responses_by_id import MODEL, TOOLS
from tests.support.conversation_walks import ConversationWalk
from tests.support.proxy import ROOT, environment
from tests.support.proxy import TOOLS as TOOLS_FOLDER
from tests.support.responses_place import Place
from tests.support.scripted_api import ScriptedServer
from tests.support.whole_requests import messages, shown

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQAY3Y2wAAAAAElFTkSuQmCC"
)
ITEMS: list[Any] = [
    {"role": "developer", "content": "Speak plainly."},
    {"role": "user", "content": "My name is Bob."},
    {"role": "assistant", "content": "Noted."},
    {"role": "user", "content": [
        {"type": "input_text", "text": "Look at this."},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
    ]},
    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    {"type": "custom_tool_call", "call_id": "c2", "name": "note", "input": "wet"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "kept"},
    {"role": "assistant", "content": "It rains there."},
]  # fmt: skip
WALKS = int(os.environ.get("WALKS", 1))
NODE = ROOT / "tests" / "node" / "conversations.mjs"
KINDS = [item.get("type", "message") for item in ITEMS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("kept"), api, stack)


def listed(client: Any, id_: str, **query: Any) -> list[dict[str, Any]]:
    return [
        item.model_dump(exclude_unset=True)
        for item in client.conversations.items.list(id_, **query)
    ]


def texts(client: Any, id_: str) -> list[str]:
    items = client.conversations.items.list(id_, order="asc")
    return [part.text for item in items if item.type == "message" for part in item.content]


def told(call: Any) -> list[tuple[str, list[str]]]:
    """What the model was shown of texts, by message."""
    return [
        (role, [block["text"] for block in blocks if block["type"] == "text"])
        for role, blocks in messages(call)
    ]


def test_a_conversation_with_items_goes_on_over_a_restart(
    place: Place, api: ScriptedServer
) -> None:
    client = place.client()
    created = client.conversations.create(items=ITEMS, metadata={"topic": "weather"})
    assert created.id.startswith("conv_sb")
    assert (created.object, created.metadata) == ("conversation", {"topic": "weather"})
    items = listed(client, created.id, order="asc")
    assert [item["type"] for item in items] == KINDS
    assert items[0]["content"] == [{"type": "input_text", "text": "Speak plainly."}]
    assert items[3]["content"][1]["detail"] == "low"
    assert items[4]["arguments"] == '{"city":"Oslo"}'
    assert len({item["id"] for item in items}) == len(ITEMS)
    first = client.responses.create(
        model=MODEL, input="What is my name?", conversation=created.id, tools=TOOLS
    )
    assert first.output_text == "Your name is Bob."
    assert first.conversation is not None
    assert first.conversation.id == created.id
    seen = shown(api.calls[-1])
    assert seen.system == "Speak plainly."
    kinds = [[block["type"] for block in blocks] for _, blocks in seen.messages]
    assert kinds == [
        ["text"], ["text"], ["text", "image"], ["tool_use"], ["tool_result"], ["tool_use"],
        ["tool_result"], ["text"], ["text"],
    ]  # fmt: skip
    assert seen.messages[5][1][0]["input"] == {"input": "wet"}
    place.restart()
    client = place.client()
    assert client.conversations.retrieve(created.id) == created
    assert listed(client, created.id, order="asc")[: len(items)] == items
    with client.responses.stream(
        model=MODEL, input="And now?", conversation={"id": created.id}
    ) as stream:
        second = stream.get_final_response()
    assert [text for _, (text, *_) in told(api.calls[-1])[-3:]] == [
        "What is my name?", "Your name is Bob.", "And now?",
    ]  # fmt: skip
    assert shown(api.calls[-1]).system == "Speak plainly."
    after = listed(client, created.id, order="asc")
    assert after[: len(items)] == items
    answers = [
        item["id"] for item in after if item["id"] in {first.output[0].id, second.output[0].id}
    ]
    assert answers == [first.output[0].id, second.output[0].id]
    assert [item["id"] for item in listed(client, created.id, limit=3)] == [
        item["id"] for item in reversed(after)
    ]


def test_an_empty_one_is_changed_and_deleted(place: Place) -> None:
    client, other = place.client(), place.client("sk-other")
    created = client.conversations.create()
    assert created.metadata == {}
    changed = client.conversations.update(created.id, metadata={"a": "b"})
    assert changed.metadata == {"a": "b"}
    assert client.conversations.retrieve(created.id) == changed
    assert client.conversations.items.list(created.id).data == []
    calls: list[Any] = [
        lambda one, id_: one.conversations.retrieve(id_),
        lambda one, id_: one.conversations.update(id_, metadata={}),
        lambda one, id_: one.conversations.items.list(id_),
        lambda one, id_: one.conversations.items.create(id_, items=ITEMS[:1]),
        lambda one, id_: one.conversations.items.retrieve("msg_1", conversation_id=id_),
        lambda one, id_: one.conversations.items.delete("msg_1", conversation_id=id_),
        lambda one, id_: one.responses.create(model=MODEL, input="x", conversation=id_),
        lambda one, id_: one.conversations.delete(id_),
    ]
    unknown = "conv_sb" + 32 * "0"
    asked = [(other, created.id), (client, unknown)]
    for who, id_ in asked:
        for call in calls:
            with pytest.raises(openai.NotFoundError) as error:
                call(who, id_)
            assert f"Conversation with id '{id_}' not found." in error.value.message
    deleted = client.conversations.delete(created.id)
    assert (deleted.deleted, deleted.object) == (True, "conversation.deleted")
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call(client, created.id)
    # The words of others are keys that nobody has to create, as they are for the responses.
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve("my-chat")
    assert client.responses.create(model=MODEL, input="x", conversation="my-chat").output_text


def test_items_come_and_go_between_turns(place: Place, api: ScriptedServer) -> None:
    client = place.client()
    id_ = client.conversations.create(items=[{"role": "user", "content": "one"}]).id
    (one,) = client.conversations.items.list(id_).data
    added = client.conversations.items.create(id_, items=ITEMS[1:3])
    assert [item.role for item in added.data] == ["user", "assistant"]
    assert (added.first_id, added.has_more) == (added.data[0].id, False)
    # All that is asked may be there already.
    client.conversations.items.create(id_, items=[{"role": "user", "content": "two"}])
    client.responses.create(model=MODEL, conversation=id_)
    assert told(api.calls[-1]) == [
        ("user", ["one", "My name is Bob."]), ("assistant", ["Noted."]), ("user", ["two"]),
    ]  # fmt: skip
    found = client.conversations.items.retrieve(one.id, conversation_id=id_)
    assert found == one
    client.conversations.items.create(
        id_, items=[{"role": "assistant", "content": "by hand"}, {"role": "user", "content": "3"}]
    )
    client.responses.create(model=MODEL, input="four", conversation=id_)
    *_, (role, said), last = told(api.calls[-1])
    assert (role, last) == ("assistant", ("user", ["3", "four"]))
    assert "".join(said).endswith("by hand")
    client.conversations.items.delete(one.id, conversation_id=id_)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(one.id, conversation_id=id_)
    before = texts(client, id_)
    assert "one" not in before
    client.responses.create(model=MODEL, input="five", conversation=id_)
    assert [text for _, line in told(api.calls[-1]) for text in line] == [*before, "five"]


def test_a_turn_in_the_background_adds_to_it(place: Place) -> None:
    client = place.client()
    id_ = client.conversations.create(items=ITEMS[1:2]).id
    asked: Any = {"model": MODEL, "input": "Who am I?", "background": True}
    (*_, last) = client.responses.create(**asked, conversation=id_, stream=True)
    assert last.type == "response.completed"
    items = client.conversations.items.list(id_, order="asc").data
    assert [item.id for item in items[2:]] == [item.id for item in last.response.output]
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**asked, conversation="conv_sb" + 32 * "0")
    # Its events are kept for a while, but not those of what was deleted.
    response = last.response.id
    assert client.responses.retrieve(response).status == "completed"
    client.conversations.delete(id_)
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response, stream=stream)


def test_a_client_that_names_a_session_with_every_request(place: Place) -> None:
    client = place.client().with_options(default_headers={"X-SessionBridge-Session": "mine"})
    id_ = client.conversations.create(items=ITEMS[1:3]).id
    asked: Any = {"model": MODEL, "input": "What is my name?"}
    background: Any = {"background": True, "stream": True}
    (*_, last) = client.responses.create(**asked, **background, conversation=id_)
    response = last.response.id
    assert client.responses.retrieve(response).output_text == "Your name is Bob."
    assert client.responses.cancel(response).status == "completed"
    place.restart()
    assert client.responses.retrieve(response).output_text == "Your name is Bob."
    after = client.responses.create(**asked, previous_response_id=response)
    assert after.output_text == "Your name is Bob."
    for other in (
        place.client("sk-other"),
        place.client("sk-other").with_options(default_headers={"X-SessionBridge-Session": "mine"}),
    ):
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(response)


def test_calls_wait_for_results_that_are_added(place: Place, api: ScriptedServer) -> None:
    client = place.client()
    id_ = client.conversations.create().id
    calls = client.responses.create(
        model=MODEL, input='[call weather {"city": "Oslo"}]', tools=TOOLS, conversation=id_
    )
    (call,) = [item for item in calls.output if item.type == "function_call"]
    with pytest.raises(openai.BadRequestError, match="function call"):
        client.responses.create(model=MODEL, input="never mind", conversation=id_, tools=TOOLS)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    client.conversations.items.create(id_, items=[output])
    answer = client.responses.create(model=MODEL, conversation=id_, tools=TOOLS)
    assert answer.output_text == "Returned: rain"
    items = client.conversations.items.list(id_, order="asc").data
    assert [item.type for item in items] == ["message", *KINDS[4:6], "message"]


def test_one_turn_waits_for_another_and_so_does_a_deletion(
    place: Place, api: ScriptedServer
) -> None:
    client = place.client()
    id_ = client.conversations.create(items=ITEMS[1:3]).id

    def ask(words: str) -> Any:
        return client.responses.create(model=MODEL, input=words, conversation=id_)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, "[gate kept-1] first")
        api.wait_until_held("kept-1")
        second = pool.submit(ask, "second")
        added = pool.submit(client.conversations.items.create, id_, items=ITEMS[1:2])
        api.open_gate("kept-1")
        assert first.result().status == second.result().status == "completed"
        added.result()
    (seen,) = api.seen("second")
    assert [text for _, text in seen][:3] == ["My name is Bob.", "Noted.", "[gate kept-1] first"]
    with ThreadPoolExecutor() as pool:
        last = pool.submit(ask, "[gate kept-2] last")
        api.wait_until_held("kept-2")
        begun = threading.Event()

        def delete() -> Any:
            begun.set()
            return client.conversations.delete(id_)

        deletion = pool.submit(delete)
        begun.wait()
        api.open_gate("kept-2")
        assert last.result().status == "completed"
        assert deletion.result().deleted
    with pytest.raises(openai.NotFoundError):
        ask("any more?")
    assert not [path for path in place.proxy.home.rglob("*") if path.is_file() and id_ in path.name]


def test_it_is_forgotten_by_the_command(place: Place) -> None:
    client = place.client()
    id_ = client.conversations.create(items=ITEMS[1:2]).id
    asked: Any = {"model": MODEL, "conversation": id_, "background": True, "stream": True}
    (*_, last) = client.responses.create(**asked)
    home = place.proxy.home
    command = [str(TOOLS_FOLDER / "sessionbridge"), "--home", str(home / "bridge")]
    command += ["sessions", "forget", id_, "--yes"]
    subprocess.run(command, env=environment(home), check=True)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(id_)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)
    assert not [path for path in home.rglob(f"{id_}*")]


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE.parent / "node_modules").is_dir(),
    reason="needs Node and its packages: scripts/setup-node",
)
def test_the_client_for_node_has_one_too(place: Place) -> None:
    variables = {"PATH": os.environ["PATH"], "BASE_URL": place.url}
    ran = subprocess.run(
        ["node", NODE], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answer = "Your name is Bob."
    listed = ["My name is Bob.", "Hi.", "What is my name?", answer]
    assert json.loads(ran.stdout) == {"answer": answer, "listed": listed, "deleted": True}


def test_what_is_wrong_is_told_in_the_words_of_the_api(place: Place) -> None:
    client = place.client()
    id_ = client.conversations.create().id
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("items", {"items": [{"role": "user", "content": "x"}] * 21}),
        ("items.0.type", {"items": [{"type": "item_reference", "id": "msg_1"}]}),
        ("items.0.type", {"items": [{"type": "unheard_of"}]}),
        ("items.0.role", {"items": [{"role": "nobody", "content": "x"}]}),
        ("metadata", {"metadata": {f"k{n}": "v" for n in range(17)}}),
        ("metadata", {"metadata": {"k": "v" * 513}}),
        ("metadata", {"metadata": {"k": 1}}),
    ]
    for param, fields in wrong:
        with pytest.raises(openai.BadRequestError) as error:
            client.conversations.create(**fields)
        assert error.value.param == param
    with pytest.raises(openai.BadRequestError):
        client.conversations.items.create(id_, items=wrong[0][1]["items"])
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, conversation=id_)
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(id_, after="msg_none")
    with pytest.raises(openai.NotFoundError):
        client.get(f"/conversations/{id_}/nothing", cast_to=object)


def test_random_walks_show_the_model_what_is_listed(place: Place, api: ScriptedServer) -> None:
    client = place.client()
    for seed in range(WALKS):
        walk = ConversationWalk(client, api, seed)
        try:
            walk.run()
        except Exception as error:
            raise AssertionError(f"walk {seed}: {walk.taken}") from error
