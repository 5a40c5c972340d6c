"""Responses in the background, by the official client: polled, followed, taken up again after a
cut, cancelled and deleted."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from tests.support.proxy import wait_for
from tests.support.responses_place import Place
from tests.support.scripted_api import ScriptedServer

MODEL = "claude-sonnet-4-5"
CUTS = int(os.environ.get("CUTS", "4"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("background"), api, stack)


def until_ended(client: Any, id_: str) -> Any:
    def ended() -> Any:
        found = client.responses.retrieve(id_)
        return found if found.status not in ("queued", "in_progress") else None

    return wait_for(ended, f"{id_} to end")


def begun(place: Place, name: str, **fields: Any) -> Any:
    """A response that has said one piece of its text, and waits at its gate."""
    asked = {"model": MODEL, "input": f"[gate {name}]", "background": True, **fields}
    response = place.client().responses.create(**asked)
    place.api.wait_until_held(name)
    return response


def test_it_is_polled(place: Place) -> None:
    client = place.client()
    queued = begun(place, "polled", metadata={"of": "a test"})
    assert queued.status == "queued" and queued.background and queued.output == []
    assert queued.metadata == {"of": "a test"}

    def there() -> Any:
        found = client.responses.retrieve(queued.id)
        return found if found.output else None

    half = wait_for(there, "the first words")
    assert half.status == "in_progress" and half.id == queued.id
    place.api.open_gate("polled")
    ended = until_ended(client, queued.id)
    assert ended.status == "completed" and ended.usage.output_tokens
    place.restart()
    again = client.responses.retrieve(queued.id)
    assert again.output == ended.output and again.usage == ended.usage
    assert again.status == "completed" and again.background
    then = client.responses.create(model=MODEL, input="and?", previous_response_id=queued.id)
    assert then.status == "completed"


def cut(place: Place, path: str, method: str, body: Any, count: int) -> list[dict[str, Any]]:
    """The first so many events of a stream whose connection breaks then, or all."""
    url, auth = f"{place.url}{path}", {"authorization": "Bearer sk-ann"}
    events: list[dict[str, Any]] = []
    with httpx.stream(method, url, json=body, headers=auth, timeout=30, trust_env=False) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if len(events) >= count:
                break
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
    return events


def test_a_client_that_is_cut_off_takes_it_up_again(place: Place) -> None:
    """Wherever it is cut, while it runs and after: nothing is lost, nothing comes twice."""
    chance = random.Random(17)
    for number in range(CUTS):
        name = f"cut{number}"
        asked = {"model": MODEL, "input": f"one two three [gate {name}]", "background": True}
        seen = cut(place, "/responses", "POST", {**asked, "stream": True}, chance.randint(1, 5))
        id_ = seen[0]["response"]["id"]
        if chance.random() < 0.5:
            place.api.wait_until_held(name)
            seen += taken_up(place, id_, seen, chance.randint(1, 3), name, chance.random())
        else:
            place.api.open_gate(name)
        while seen[-1]["type"] != "response.completed":
            seen += taken_up(place, id_, seen, chance.randint(1, 40))
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        deltas = [e["delta"] for e in seen if e["type"] == "response.output_text.delta"]
        (output,) = seen[-1]["response"]["output"]
        assert "".join(deltas) == output["content"][0]["text"]
        whole = place.client().responses.retrieve(id_, stream=True)
        assert [event.sequence_number for event in whole] == list(range(len(seen)))


def taken_up(
    place: Place, id_: str, seen: list[Any], count: int, gate: str = "", wait: float = 0
) -> list[dict[str, Any]]:
    """`gate` is opened while it is followed, `wait` seconds after that began."""
    opening = threading.Timer(wait / 10, place.api.open_gate, [gate])
    if gate:
        opening.start()
    after = seen[-1]["sequence_number"]
    more = cut(place, f"/responses/{id_}?stream=true&starting_after={after}", "GET", None, count)
    if gate:
        opening.join()
    return more


def test_it_is_cancelled(place: Place) -> None:
    client = place.client()
    waits = begun(place, "cancelled")
    followed: list[Any] = []
    follower = threading.Thread(
        target=lambda: followed.extend(client.responses.retrieve(waits.id, stream=True))
    )
    follower.start()
    stopped = client.responses.cancel(waits.id)
    follower.join(20)
    assert stopped.status == "cancelled" and stopped.id == waits.id
    assert followed[-1].type == "response.incomplete"
    assert followed[-1].response.status == "cancelled"
    assert client.responses.retrieve(waits.id).status == "cancelled"
    assert client.responses.cancel(waits.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="x", previous_response_id=waits.id)
    place.api.open_gate("cancelled")


def test_one_that_is_under_way_is_deleted(place: Place) -> None:
    client = place.client()
    waits = begun(place, "deleted")
    client.responses.delete(waits.id)
    place.api.open_gate("deleted")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(waits.id)


def test_what_fails_says_why(place: Place) -> None:
    client = place.client()
    failed = client.responses.create(model=MODEL, input="[fail 400]", background=True)
    ended = until_ended(client, failed.id)
    assert ended.status == "failed" and ended.error.message
    with pytest.raises(openai.BadRequestError, match="cannot be cancelled"):
        client.responses.cancel(client.responses.create(model=MODEL, input="hi").id)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=MODEL, input="hi", background=True, store=False)
    assert error.value.param == "background"
    for fields in ({"previous_response_id": "resp_sbnone"}, {"model": " "}):
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**{"model": MODEL, "input": "hi", "background": True, **fields})


def test_another_caller_does_not_see_it(place: Place) -> None:
    waits, bob = begun(place, "mine"), place.client("sk-bob")
    for ask in (bob.responses.retrieve, bob.responses.cancel, bob.responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(waits.id)
    with pytest.raises(openai.NotFoundError):
        bob.responses.retrieve(waits.id, stream=True)
    place.api.open_gate("mine")
    assert until_ended(place.client(), waits.id).status == "completed"


def test_what_is_no_longer_kept_as_events_is_told_whole(place: Place) -> None:
    client = place.client()
    first = client.responses.create(model=MODEL, input="hello")
    *_, last = client.responses.retrieve(first.id, stream=True)
    assert last.response.output == first.output
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.retrieve(first.id, stream=True, starting_after=3)
    assert error.value.param == "starting_after"


def test_what_it_is_asked_is_told_while_it_runs_as_after(place: Place) -> None:
    client = place.client()
    before = client.responses.create(model=MODEL, input="hello")
    said = [{"role": "user", "content": text} for text in ("q0", "q1", "[gate items]")]
    waits = begun(place, "items", input=said, previous_response_id=before.id)
    listed = client.responses.input_items.list(waits.id, order="asc", limit=100)
    place.api.open_gate("items")
    until_ended(client, waits.id)
    again = client.responses.input_items.list(waits.id, order="asc", limit=100)
    assert again.data == listed.data
    (item,) = listed.data
    assert [part.text for part in item.content] == ["q0", "q1", "[gate items]"]
    failed = client.responses.create(model=MODEL, input="[fail 400]", background=True)
    until_ended(client, failed.id)
    with pytest.raises(openai.NotFoundError, match="not kept"):
        client.responses.input_items.list(failed.id)


@pytest.mark.parametrize("ended", [False, True])
def test_it_is_followed_from_events_that_there_are(place: Place, ended: bool) -> None:
    client = place.client()
    waits = begun(place, f"numbers{ended}")
    if ended:
        place.api.open_gate(f"numbers{ended}")
        until_ended(client, waits.id)
        *_, last = client.responses.retrieve(waits.id, stream=True)
        past, number = last.sequence_number + 1, last.sequence_number
        assert list(client.responses.retrieve(waits.id, stream=True, starting_after=number)) == []
    else:
        past = 1000
    for odd in (past, "9" * 5000, "0" * 30 + "1", "-1", "x"):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.retrieve(waits.id, stream=True, starting_after=odd)
        assert error.value.param == "starting_after"
    place.api.open_gate(f"numbers{ended}")


def test_an_orderly_end_waits_for_it(place: Place) -> None:
    client = place.client()
    waits = begun(place, "ending")
    place.proxy.process.send_signal(signal.SIGTERM)
    place.api.open_gate("ending")
    place.proxy.process.wait(20)
    place.restart()
    assert client.responses.retrieve(waits.id).status == "completed"
