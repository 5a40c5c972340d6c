"""One conversation, one hash, however it is written down; two conversations, never the same."""

from __future__ import annotations

import base64
import json
from itertools import combinations
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.apis import SHAPES
from sessionbridge.model import Block, Message
from sessionbridge.sessions.planning.lineage import ROOT, chain, extend

PNG = base64.b64encode(b"\x89PNG picture").decode()
JPG = base64.b64encode(b"another picture").decode()


def parsed(messages: list[dict[str, Any]], api: str = "messages") -> tuple[Message, ...]:
    request = {"model": "claude-x", "max_tokens": 5, "messages": messages}
    return SHAPES[api].parse(json.dumps(request).encode()).messages


def hash_of(messages: list[dict[str, Any]], api: str = "messages") -> str:
    return chain(parsed(messages, api))[-1].hash


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": _content(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": _content(content)}


def _content(content: tuple[Any, ...]) -> Any:
    if len(content) == 1 and isinstance(content[0], str):
        return content[0]
    return [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]


def image(data: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def document(data: str = "words", **more: Any) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": data}
    return {"type": "document", "source": source, **more}


def call(id_: str = "t1", name: str = "look", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def result(id_: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


CACHED = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}

SAME = {
    "string or block": ([user("hi")], [user({"type": "text", "text": "hi"})]),
    "cache_control": ([user("hi")], [user(CACHED)]),
    "white space at the ends": ([user("hi")], [user(" hi\n")]),
    "messages of one role": ([user("a", "b")], [user("a"), user("b")]),
    "key order": (
        [user("a"), assistant(call(x=1, y=2)), user(result("t1", "r"))],
        [user("a"), assistant(call(y=2, x=1)), user(result("t1", "r"))],
    ),
    "answer cut into blocks": (
        [user("a"), assistant("one two"), user("b")],
        [user("a"), assistant("one ", "two"), user("b")],
    ),
    "answer cut into messages": (
        [user("a"), assistant("one two"), user("b")],
        [user("a"), assistant("one "), assistant("two"), user("b")],
    ),
    "thinking": (
        [user("a"), assistant("b"), user("c")],
        [user("a"), assistant(THOUGHT, "b"), user("c")],
    ),
    "blank text": ([user("a")], [user("a", "  ")]),
    "an answer that says nothing": ([user("a", "b")], [user("a"), assistant(" "), user("b")]),
    "result as string or block": (
        [user("a"), assistant(call()), user(result("t1", "r"))],
        [user("a"), assistant(call()), user(result("t1", [{"type": "text", "text": "r"}]))],
    ),
    "result without an error": (
        [user("a"), assistant(call()), user(result("t1", "r"))],
        [user("a"), assistant(call()), user(result("t1", "r", is_error=False))],
    ),
    "line breaks in base64": ([user(image(PNG))], [user(image(f"{PNG[:4]}\n{PNG[4:]}"))]),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_one_conversation_has_one_hash(one: Any, other: Any) -> None:
    assert hash_of(one) == hash_of(other)
    assert [link.message.role for link in chain(parsed(one))] == [
        link.message.role for link in chain(parsed(other))
    ]


def test_both_apis_give_one_hash() -> None:
    anthropic: list[dict[str, Any]] = [
        user("look", image(PNG)),
        assistant("a moment", call("t1", "look", x=1)),
        user(result("t1", "red"), "and?"),
        assistant("it is red"),
        user("thanks"),
    ]
    function = {"name": "look", "arguments": '{"x": 1}'}
    openai: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {
            "role": "assistant",
            "content": "a moment",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "red"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "it is red"},
        {"role": "user", "content": "thanks"},
    ]
    ours, theirs = chain(parsed(anthropic)), chain(parsed(openai, "chat"))
    assert [link.hash for link in ours] == [link.hash for link in theirs]


DIFFERENT: list[list[dict[str, Any]]] = [
    [user("ab")],
    [user("a", "b")],
    [user("a b")],
    [user("A")],
    [user("a")],
    [user("a"), assistant("b"), user("c")],
    [user("a"), assistant("b c"), user("d")],
    [user("a"), assistant("b"), user("c d")],
    [user("a b"), assistant("c"), user("d")],
    [user("b"), assistant("a"), user("c")],
    [user("a"), assistant("b"), user("c", "d")],
    [user("c"), assistant("b"), user("a")],
    [assistant("a"), user("b")],
    [user('["user", "a"]')],
    [user(image(PNG))],
    [user(image(JPG))],
    [user("a", image(PNG))],
    [user(image(PNG), "a")],
    [user({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}})],
    [user({"type": "image", "source": {"type": "url", "url": "https://x/b.png"}})],
    [user(document())],
    [user(document(title="words"))],
    [user(document(context="words"))],
    [user(document(), "words")],
    [user("a"), assistant(call("t1", "look", x=1)), user(result("t1", "r"))],
    [user("a"), assistant(call("t2", "look", x=1)), user(result("t2", "r"))],
    [user("a"), assistant(call("t1", "looks", x=1)), user(result("t1", "r"))],
    [user("a"), assistant(call("t1", "look", x="1")), user(result("t1", "r"))],
    [user("a"), assistant(call("t1", "look", x=True)), user(result("t1", "r"))],
    [user("a"), assistant(call("t1", "look", x=1)), user(result("t1", "s"))],
    [user("a"), assistant(call("t1", "look", x=1)), user(result("t1", "r", is_error=True))],
    [user("a"), assistant(call("t1", "look", x=1)), user(result("t1", "r"), "r")],
    [user("a"), assistant(call("t1l", "ook", x=1)), user(result("t1l", "r"))],
    [user("a"), assistant("look", call("t1", "look", x=1)), user(result("t1", "r"))],
]


def test_two_conversations_never_share_a_hash() -> None:
    hashes = [hash_of(messages) for messages in DIFFERENT]
    assert [
        (DIFFERENT[i], DIFFERENT[j])
        for i, j in combinations(range(len(hashes)), 2)
        if hashes[i] == hashes[j]
    ] == []


@pytest.mark.parametrize("data", ["schön", "abc", "a"])
def test_what_is_not_base64_is_no_fault_of_ours(data: str) -> None:
    assert hash_of([user(image(data))]) != hash_of([user(image(PNG))])
    assert hash_of([user(image("abc"))]) != hash_of(
        [user(image(base64.b64encode(b"abc").decode()))]
    )


TEXT = st.text(alphabet="ab \n|", max_size=4)
TALK = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), min_size=1, max_size=6)


def heard(talk: list[tuple[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """The canonical form of a conversation of texts, written down a second time."""
    runs: list[tuple[str, list[str]]] = []
    for role, text in talk:
        if not text.strip():
            continue
        if runs and runs[-1][0] == role:
            runs[-1][1].append(text)
        else:
            runs.append((role, [text]))
    return [
        (role, tuple(t.strip() for t in texts) if role == "user" else ("".join(texts).strip(),))
        for role, texts in runs
    ]


@given(TALK, TALK)
def test_hashes_are_equal_exactly_where_conversations_are(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    first, second = ([link.hash for link in chain(_said(talk))] for talk in (one, other))
    assert (first == second) == (heard(one) == heard(other))


@given(TALK)
def test_every_link_continues_the_one_before_it(talk: list[tuple[str, str]]) -> None:
    links = chain(_said(talk))
    before = ROOT
    for link, following in zip(links, links[1:], strict=False):
        assert link.message.role != following.message.role
    for link in links:
        assert link.hash == extend(before, link.message)
        before = link.hash


def _said(talk: list[tuple[str, str]]) -> list[Message]:
    return [
        Message("user" if role == "user" else "assistant", ({"type": "text", "text": text},))
        for role, text in talk
    ]


def test_two_thousand_messages() -> None:
    talk = [("assistant" if n % 2 else "user", f"message {n}") for n in range(2000)]
    links = chain(_said(talk))
    assert len({link.hash for link in links}) == 2000


def test_an_unknown_block_is_told_not_dropped() -> None:
    with pytest.raises(ValueError, match="video"):
        chain([Message("user", (cast("Block", {"type": "video"}),))])
