"""The ways mitmproxy can be started, each with a bridged answer."""

from __future__ import annotations

from pathlib import Path

import anthropic
import pytest

from tests.end_to_end.test_end_to_end import chat_json
from tests.support.proxy import Proxy, free_port, running_proxy, said, wait_for
from tests.support.scripted_api import ScriptedServer, user


def test_reverse_mode_needs_no_certificate(tmp_path: Path, api: ScriptedServer) -> None:
    modes: list[str] = []
    for host in ("api.anthropic.com", "api.openai.com"):
        modes += ["--mode", f"reverse:https://{host}@{free_port()}"]
    with running_proxy(tmp_path, api.url, *modes) as proxy:
        with anthropic.Anthropic(
            api_key="sk-ant-client-key",
            base_url=proxy.url,
            max_retries=0,
            default_headers={"X-OpenClaw-Session": "reverse"},
            http_client=anthropic.DefaultHttpxClient(trust_env=False),
        ) as client:
            answer = client.messages.create(
                model="sonnet", max_tokens=9, messages=[user("My name is Rex.")]
            )
        assert said(answer) == "Nice to meet you, Rex!"
        assert proxy.connected_hosts() == {"127.0.0.1"}


def test_behind_an_upstream_proxy_that_is_dead(tmp_path: Path, api: ScriptedServer) -> None:
    dead = f"upstream:http://127.0.0.1:{free_port()}@{free_port()}"
    with running_proxy(tmp_path, api.url, "--mode", dead) as proxy:
        assert hello(proxy) == "Nice to meet you, Una!"


def test_every_option_can_be_given_on_the_command_line(tmp_path: Path, api: ScriptedServer) -> None:
    """mitmproxy drops a script whose options do not load, and would pass everything on."""
    config = tmp_path / "config.toml"
    config.write_text('[[origins]]\nname = "bot"\nheader = "X-Bot"\n')
    options = {
        "config": str(config),
        "unkeyed": "stateless",
        "timeout": "60",
        "first_token_timeout": "50",
        "tool_wait": "40",
        "unknown_model": "default",
        "upstream": "true",
        "retries": "1",
        "allow_remote": "true",
        "strict": "false",
    }
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        assert hello(proxy, "X-Bot") == "Nice to meet you, Una!"
        assert proxy.bridged("una", 1)[0]["metadata"]["platform"] == "bot"


@pytest.mark.parametrize(
    ("option", "value"),
    [("unkeyed", "sometimes"), ("config", "/nowhere.toml"), ("timeout", "0"), ("retries", "x")],
)
def test_a_wrong_option_passes_nothing_on(
    tmp_path: Path, api: ScriptedServer, option: str, value: str
) -> None:
    """mitmdump ends instead, before or just after it has begun to listen."""
    try:
        with running_proxy(tmp_path, api.url, options={option: value}) as proxy:
            wait_for(proxy.process.poll, "mitmdump to end")
            log = proxy.log
    except AssertionError as error:
        log = str(error)
    assert f"sessionbridge_{option}" in log
    assert "Error logged during startup" in log


def hello(proxy: Proxy, header: str = "X-OpenClaw-Session") -> str:
    return chat_json(proxy, {header: "una"}, False)([user("My name is Una.")])
