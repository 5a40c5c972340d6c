"""The hooks of the bridge's parts, joined to those of one addon."""

from __future__ import annotations

import pytest
from mitmproxy import hooks

from sessionbridge.proxy.addon import SessionBridge
from sessionbridge.proxy.joined_hooks import join


class Joined:
    def __init__(self, *parts: object) -> None:
        join(self, parts)


class Part:
    def __init__(self, name: str, heard: list[str]) -> None:
        self.name, self.heard = name, heard

    def configure(self, updated: set[str]) -> None:
        self.heard.append(self.name)
        if self.name in updated:
            raise ValueError(self.name)

    async def request(self, flow: object) -> None:
        self.heard.append(self.name)


class AtOnce:
    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def request(self, flow: object) -> None:
        self.heard.append("at once")


async def test_parts_hear_an_event_in_their_order() -> None:
    heard: list[str] = []
    joined: Part = Joined(Part("a", heard), AtOnce(heard), Part("b", heard))  # type: ignore[assignment]
    await joined.request(object())
    assert heard == ["a", "at once", "b"]


def test_none_hears_an_event_behind_one_that_raises() -> None:
    heard: list[str] = []
    joined: Part = Joined(*(Part(name, heard) for name in "abc"))  # type: ignore[assignment]
    with pytest.raises(ValueError, match="b"):
        joined.configure({"b"})
    assert heard == ["a", "b"]


def test_it_has_no_hook_that_no_part_has() -> None:
    heard: list[str] = []
    joined = Joined(AtOnce(heard))
    assert [name for name in hooks.all_hooks if hasattr(joined, name)] == ["request"]


def test_every_hook_of_the_bridges_parts_is_heard() -> None:
    """A part that is not named among those that are joined would do nothing, without a word."""
    bridge = SessionBridge()
    parts = [part for part in vars(bridge).values() if type(part).__module__.startswith("session")]
    asked = {name for part in parts for name in hooks.all_hooks if hasattr(part, name)}
    assert "request" in asked and all(hasattr(bridge, name) for name in asked)
