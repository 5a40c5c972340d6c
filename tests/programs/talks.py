"""A proxy as the README has it run, and what a conversation through it has to look like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

NAMED = "My name is Bob."
ASKED = "What is my name?"
MET = "Nice to meet you, Bob!"
TOLD = "Your name is Bob."
# Named, asked, a round with a tool, and asked again, where the history that is sent stays the same.
CONTINUED = [
    "fresh first_turn",
    "resume continued",
    "resume continued",
    "resume tool_results",
    "resume continued",
]


@contextmanager
def reverse_proxy(folder: Path, api: ScriptedServer, **options: str) -> Iterator[Proxy]:
    """In front of the real API, which is out of reach: whatever is not bridged is seen to fail."""
    home = folder / "proxy"
    home.mkdir()
    mode = ("--mode", "reverse:https://api.anthropic.com@0")
    with running_proxy(home, api.url, *mode, options=options) as proxy:
        yield proxy


_END = "\n</system-reminder>"


def bridged(proxy: Proxy, platform: str, count: int) -> list[dict[str, Any]]:
    """What the bridge made of all requests so far. There are `count` of them, none refused or
    passed on, and all of them of one platform."""

    def finished() -> list[dict[str, Any]] | None:
        flows = proxy.flows()
        return flows if len(flows) >= count else None

    flows = wait_for(finished, f"{count} flows")
    told = [(flow["url"], flow["status"], flow["comment"], flow["body"]) for flow in flows]
    assert [flow["status"] for flow in flows] == [200] * count, told
    assert {flow["metadata"]["platform"] for flow in flows} == {platform}
    assert proxy.connected_hosts() == {"127.0.0.1"}
    return [flow["metadata"] for flow in flows]


def plans(turns: list[dict[str, Any]]) -> list[str]:
    return [f"{turn['plan']} {turn['reason']}" for turn in turns]


def without(
    api: ScriptedServer, beginnings: tuple[str, ...], talk: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """A conversation without the program's own texts that begin so, each up to its tag's end."""
    plain = []
    for role, text in talk:
        while text.startswith(beginnings):
            own, end, text = text.partition(_END)
            api.said.update((own + end, f"{own}{end}\n"))
            text = text.lstrip("\n")
        plain.append((role, text))
    return plain


def shown(api: ScriptedServer, asked: str) -> list[tuple[str, str]]:
    """The conversation that ended with these words when the model was shown it, the last time."""
    return api.seen(asked)[-1]


def offered(api: ScriptedServer, name: str) -> str:
    """What the model knows a tool of the program by; a namespace may stand before it."""
    names = {tool["name"] for call in api.calls for tool in call.body["tools"]}
    found = [known for known in names if known.rpartition("__")[2] == name]
    assert len(found) == 1, names
    return str(found[0])


def instructed(api: ScriptedServer, words: str) -> bool:
    """Whether the model was given them in a system prompt."""
    prompts = [block["text"] for call in api.calls for block in call.body["system"]]
    return any(words in prompt for prompt in prompts)
