"""Responses asked for by their ids, by the official client: what was answered, over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from tests.support.responses_place import Place
from tests.support.scripted_api import ScriptedServer

MODEL = "claude-sonnet-4-5"
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    },
    {"type": "custom", "name": "note", "description": "Writes a note."},
]
HIDDEN = {"created_at", "completed_at"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("by-id"), api, stack)


def told(response: Any) -> dict[str, Any]:
    """Without what is counted in whole seconds."""
    document = response.model_dump()
    return {name: value for name, value in document.items() if name not in HIDDEN}


def test_a_response_is_what_was_answered_also_after_a_restart(place: Place) -> None:
    client = place.client()
    plain = client.responses.create(
        model=MODEL, input="hello", instructions="Be brief.", metadata={"of": "a test"}
    )
    calls = client.responses.create(
        model=MODEL,
        input='Look. [call weather {"city": "Oslo"}] [call note {"input": "a\\nb"}]',
        tools=TOOLS,
    )
    outputs: list[Any] = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "rain"}
        if item.type == "function_call"
        else {"type": "custom_tool_call_output", "call_id": item.call_id, "output": "kept"}
        for item in calls.output
        if item.type in ("function_call", "custom_tool_call")
    ]
    results = client.responses.create(
        model=MODEL, input=outputs, tools=TOOLS, previous_response_id=calls.id
    )
    *_, last = client.responses.create(
        model=MODEL,
        input="[think Hm.] and?",
        reasoning={"effort": "high", "summary": "auto"},
        previous_response_id=plain.id,
        stream=True,
    )
    assert last.type == "response.completed"
    streamed = last.response
    given = [plain, calls, results, streamed]
    assert [item.type for item in calls.output] == ["message", "function_call", "custom_tool_call"]
    assert [item.type for item in streamed.output] == ["reasoning", "message"]
    for restarted in (False, True):
        if restarted:
            place.restart()
        for response in given:
            found = client.responses.retrieve(response.id)
            assert told(found) == told(response)
            assert found.created_at == int(response.created_at)


def test_the_items_of_its_input_come_in_pages(place: Place) -> None:
    client = place.client()
    said: list[Any] = []
    for number in range(3):
        said += [{"role": "user", "content": f"q{number}"}]
        said += [{"role": "assistant", "content": f"a{number}"}]
    said += [
        {"role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
        ]},
    ]  # fmt: skip
    first = client.responses.create(model=MODEL, input=said)
    items = list(client.responses.input_items.list(first.id, limit=2, order="asc"))
    texts = [part.text for item in items for part in item.content if hasattr(part, "text")]
    assert texts == ["q0", "a0", "q1", "a1", "q2", "a2", "look"]
    assert items[-1].content[1].filename == "a.txt"
    assert items[-1].content[1].file_data == "data:text/plain;base64,aGk="
    assert len({item.id for item in items}) == 7
    newest = client.responses.input_items.list(first.id, limit=3)
    assert [item.id for item in newest.data] == [item.id for item in reversed(items[-3:])]
    assert newest.has_more
    # What comes after it is asked with what is new alone.
    then = client.responses.create(model=MODEL, input="and?", previous_response_id=first.id)
    assert [i.content[0].text for i in client.responses.input_items.list(then.id)] == ["and?"]


def test_one_that_is_deleted_is_gone(place: Place) -> None:
    client = place.client()
    first = client.responses.create(model=MODEL, input="My name is Bob.")
    second = client.responses.create(model=MODEL, input="ok?", previous_response_id=first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="x", previous_response_id=first.id)
    # What followed it holds all that was said.
    asked = client.responses.create(
        model=MODEL, input="What is my name?", previous_response_id=second.id
    )
    assert asked.output_text == "Your name is Bob."
    transcripts = set(place.proxy.home.rglob("*.jsonl"))
    alone = client.responses.create(model=MODEL, input="a word of mine")
    (file,) = set(place.proxy.home.rglob("*.jsonl")) - transcripts
    assert "a word of mine" in file.read_text()
    client.responses.delete(alone.id)
    assert not file.exists() and not file.with_suffix(".responses").exists()


def test_what_is_not_to_be_stored_and_what_others_have_is_not_found(place: Place) -> None:
    ann, bob = place.client(), place.client("sk-bob")
    kept = ann.responses.create(model=MODEL, input="hello")
    named = {"X-SessionBridge-Session": "not-stored"}
    passing = ann.responses.create(model=MODEL, input="hello", store=False, extra_headers=named)
    missing = f"{kept.id[:-1]}x"
    for client, id_ in ((bob, kept.id), (ann, passing.id), (ann, missing), (ann, "resp_68a")):
        responses, texts = client.responses, set()
        for ask in (responses.retrieve, responses.input_items.list, responses.delete):
            with pytest.raises(openai.NotFoundError) as error:
                ask(id_)
            texts.add(error.value.message)
        (text,) = texts
        assert f"Response with id '{id_}' not found." in text
    assert ann.responses.retrieve(kept.id).id == kept.id


def test_what_is_asked_wrongly_is_refused_in_the_words_of_the_api(place: Place) -> None:
    client = place.client()
    kept = client.responses.create(model=MODEL, input="hello")
    for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.input_items.list(kept.id, extra_query=query)
        assert error.value.param == next(iter(query))
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(kept.id, after="msg_none")
    with pytest.raises(openai.NotFoundError):
        client.post(f"/responses/{kept.id}/nothing", cast_to=object)
