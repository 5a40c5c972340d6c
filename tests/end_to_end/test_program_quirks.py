"""What single programs do in every conversation, through real parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import openai
import pytest

from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, assistant, user

CAPTURED = Path(__file__).parent.parent / "captured"
CONTEXT = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> it is noon <<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
LOOK: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
ROUNDS = 8


def plans(proxy: Proxy, external_id: str, count: int) -> list[str]:
    flows = [flow["metadata"] for flow in proxy.bridged(external_id, count)]
    return [f"{flow['plan']} {flow['reason']}" for flow in flows]


def test_openclaws_tool_rounds_leave_no_process_behind(tmp_path: Path, api: ScriptedServer) -> None:
    """Its last message is a context that the next request leaves out, beside the results too."""
    headers = {"X-OpenClaw-Session": "rounds"}
    with running_proxy(tmp_path, api.url, options={"live": "20", "spare": "0"}) as proxy:
        client = proxy.openai(headers)
        talk: list[Any] = [user("Look around.")]
        for number in range(ROUNDS):
            completion = client.chat.completions.create(
                model="sonnet", messages=[*talk, user(f"{CONTEXT} [call look]")], tools=[LOOK]
            )
            said = completion.choices[0].message
            [call] = said.tool_calls or []
            talk += [
                said.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": f"seen {number}"},
            ]
            # The one that waits now.
            wait_for(lambda: len(proxy.children()) == 1, "the process before it to end")
        assert len(plans(proxy, "rounds", ROUNDS)) == ROUNDS


def recorded(name: str, turn: str) -> Any:
    body = json.loads((CAPTURED / f"{name}.json").read_text("utf-8"))[turn]
    return (body[0] if isinstance(body, list) else body)["body"]


def test_open_webuis_side_calls_stay_out_of_the_chat(proxy: Proxy, api: ScriptedServer) -> None:
    """With `X-Conversation-Id: {{CHAT_ID}}` on the connection; the title is asked for first."""
    client = proxy.openai({"X-Conversation-Id": "open-webui-chat"})
    title = recorded("open-webui-chat-header", "side_calls")["messages"]
    tags = [user("### Task:\nGenerate 1-3 broad tags.")]
    hello, question = user("My name is Ida. (webui)"), user("What is my name? (webui)")

    def ask(messages: list[Any]) -> str:
        completion = client.chat.completions.create(model="sonnet", messages=messages)
        return completion.choices[0].message.content or ""

    ask(title)
    met = ask([hello])
    ask(tags)
    assert ask([hello, assistant(met), question]) == "Your name is Ida."
    (seen,) = api.seen("What is my name? (webui)")
    assert seen == [
        ("user", "My name is Ida. (webui)"),
        ("assistant", met),
        ("user", "What is my name? (webui)"),
    ]
    assert [len(shown) for shown in api.seen("### Task:\nGenerate")] == [1, 1]
    assert plans(proxy, "open-webui-chat", 4) == [
        "fresh first_turn",
        "fresh other_settings",
        "fresh other_settings",
        "resume continued",
    ]


@pytest.mark.parametrize("offered", [True, False], ids=["with tools", "results alone"])
def test_side_calls_between_tool_rounds_of_a_client_that_sends_what_is_new(
    proxy: Proxy, api: ScriptedServer, offered: bool
) -> None:
    name = f"rounds-{offered}"
    client = proxy.openai({"X-SessionBridge-Session": name})

    def title() -> None:
        told = [{"role": "system", "content": "You write titles."}, user("A title, please")]
        client.chat.completions.create(model="sonnet", messages=cast(Any, told))

    def ask(*new: Any, tools: bool = True) -> Any:
        given = [LOOK] if tools else openai.omit
        completion = client.chat.completions.create(model="sonnet", messages=list(new), tools=given)
        return completion.choices[0].message

    def give(message: Any, content: str) -> Any:
        (call,) = message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": content}
        return ask(result, tools=offered)

    title()
    called = ask(user(f"My name is Oz. ({name}) [call look]"))
    title()
    if offered:  # or the model could call nothing
        called = give(called, "[call look]")
        title()
    assert give(called, "seen").content == "Returned: seen"
    title()
    assert ask(user("Who am I?")).content == "Your name is Oz."
    assert plans(proxy, name, 8 if offered else 6)[-1] == "resume appended"


def test_kimis_shrinking_limit_keeps_its_process(proxy: Proxy, api: ScriptedServer) -> None:
    client = proxy.openai({"X-OpenClaw-Session": "kimi"})
    talk: list[Any] = [user("My name is Kim.")]
    for limit in (200_000, 199_966, 199_900):
        completion = client.chat.completions.create(
            model="sonnet", messages=talk, max_completion_tokens=limit
        )
        talk += [assistant(completion.choices[0].message.content or ""), user("Go on. (kimi)")]
    flows = [flow["metadata"] for flow in proxy.bridged("kimi", 3)]
    assert [flow["process"] for flow in flows][1:] == ["live", "live"]
