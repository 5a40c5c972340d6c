"""A provider that was taken out of the config has conversations still: what only it holds goes on
once it is back, and not without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sessionbridge.model import Attempt, Origin
from sessionbridge.turns.exchange import Wanted
from tests.support.bridge_fixtures import CLIENT_HELD, LEARNT, SERVER_HELD, Answer, body
from tests.turns.test_fallback import Place, place, who

__all__ = ["place"]

ALONE = ""
OTHERS = """
[providers.claude]
fallback = ["cloud"]
[providers.cloud]
"""
WITHOUT_KEY = pytest.mark.parametrize("config", [ALONE, OTHERS], ids=["alone", "others"])


@contextmanager
def without_key(place: Place, config: str) -> Iterator[Place]:
    made = Place(place.settings.home, config=config, before=place.dispatchers)
    made.fail()
    yield made
    made.store.close()


def says_gone(answer: Answer) -> bool:
    said = answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"  # or libraries would, as after any 409
    return answer.status == 409 and "have [providers.key] put back" in said


@WITHOUT_KEY
@pytest.mark.parametrize("origin", [SERVER_HELD, LEARNT], ids=["server", "learnt"])
@pytest.mark.parametrize("begun", [True, False])
async def test_what_a_provider_has_that_left_the_config_does_not_go_on_without_it(
    place: Place, origin: Origin, begun: bool, config: str
) -> None:
    """Whether it was moved there or has begun there."""
    if begun:
        await place.ask("One", origin)
    place.fail("claude")
    await place.ask("Two", origin)
    with without_key(place, config) as left:
        jobs = len(left.dispatchers["claude"].jobs)
        assert says_gone(await left.ask("Three", origin))
        assert len(left.dispatchers["claude"].jobs) == jobs and not left.asked[1:]
    place.fail()
    assert who(await place.ask("Three", origin)) == ("key", "appended")
    with without_key(place, config) as left:
        answer = await left.ask("Four", origin, attempt=Attempt(anew=True))
        assert answer.headers["x-sessionbridge-reason"] == "started_over"
        assert (await left.ask("Five", origin)).headers["x-sessionbridge-reason"] == "appended"


@WITHOUT_KEY
@pytest.mark.parametrize("origin", [CLIENT_HELD, LEARNT], ids=["client", "learnt"])
async def test_what_the_client_resends_goes_on_without_it(
    place: Place, origin: Origin, config: str
) -> None:
    place.fail("claude")
    one = await place.ask("One", origin)
    said = [("user", "One"), ("assistant", one.text), ("user", "Two")]
    with without_key(place, config) as left:
        assert (await left.ask(said, origin)).headers["x-sessionbridge-reason"] == "moved"
        assert left.seen("claude") == said


@WITHOUT_KEY
@pytest.mark.parametrize("api", ["responses", "messages"])
async def test_nor_does_what_follows_an_answer_of_its(place: Place, api: str, config: str) -> None:
    def following(previous: str | None) -> bytes:
        if api == "responses":
            more = {"previous_response_id": previous} if previous else {}
            return json.dumps({"model": "gpt-5", "input": "Hello", **more}).encode()
        told = {"type": "continue", "previous_message_id": previous}
        return body("Hello", thread=told if previous else {"type": "create"})

    place.fail("claude")
    ann, other = Attempt(caller="ann"), Attempt(caller="other")
    one = await place.ask("", CLIENT_HELD, api=api, sent=following(None), attempt=ann)
    id_, sent = one.json["id"], following(one.json["id"])
    with without_key(place, config) as left:
        more: dict[str, Any] = {"api": api, "sent": sent}
        assert says_gone(await left.ask("", None, Wanted(follows=id_), attempt=ann, **more))
        unknown = await left.ask("", None, Wanted(follows=id_), attempt=other, **more)
        assert unknown.status in (400, 404)
