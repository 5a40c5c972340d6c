"""What whoever starts the proxy is told of how open it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sessionbridge.claude.cli.environment import secrets_on
from tests.support.addon_fixtures import Proxy, proxy
from tests.support.proxy import running_proxy
from tests.support.scripted_api import ScriptedServer

__all__ = ["proxy"]

ENV = "sessionbridge_claude_env"
KEY = "sk-ant-which-nobody-may-see"


@pytest.mark.parametrize(
    ("command_line", "names"),
    [
        (["--set", f"{ENV}=ANTHROPIC_API_KEY={KEY}"], ["ANTHROPIC_API_KEY"]),
        ([f"--set={ENV}=ANTHROPIC_AUTH_TOKEN={KEY}"], ["ANTHROPIC_AUTH_TOKEN"]),
        (["--set", f"{ENV}=ANTHROPIC_CUSTOM_HEADERS=x: {KEY}"], ["ANTHROPIC_CUSTOM_HEADERS"]),
        (["--set", f"{ENV}=HTTPS_PROXY=http://me:{KEY}@proxy.example"], ["HTTPS_PROXY"]),
        (["--set", f"{ENV}=ANTHROPIC_API_KEY"], []),
        (["--set", f"{ENV}=ANTHROPIC_API_KEY="], []),
        (["--set", f"{ENV}=ANTHROPIC_BASE_URL=https://api.example:443/a@b"], []),
        (["--set", f"{ENV}=MAX_THINKING_TOKENS=1024"], []),
        (["--set", "sessionbridge_home=/a/key"], []),
        (["-s", f"{ENV}=ANTHROPIC_API_KEY={KEY}", "--set"], []),
    ],
)
def test_what_looks_like_a_key_is_told_by_its_name(
    command_line: list[str], names: list[str]
) -> None:
    assert list(secrets_on(command_line)) == names


@pytest.mark.parametrize("named_alone", [False, True])
def test_the_proxy_warns_of_a_key_on_its_command_line(
    tmp_path: Path, api: ScriptedServer, named_alone: bool
) -> None:
    entries = [f"ANTHROPIC_BASE_URL={api.url}", "ANTHROPIC_API_KEY"]
    if not named_alone:
        entries[1] += f"={KEY}"
    variables = {"ANTHROPIC_API_KEY": KEY}
    with running_proxy(
        tmp_path, api.url, options={"claude_env": entries}, env=variables
    ) as started:
        pass
    log = started.log  # whole only now
    assert ("ANTHROPIC_API_KEY is on the command line" in log) != named_alone
    assert KEY not in log


def test_the_proxy_says_what_other_machines_may(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url, options={"allow_remote": "true"}) as started:
        pass
    said = " ".join(started.log.split())
    assert "lets clients on other machines use this machine's Claude login" in said


@pytest.mark.parametrize(
    ("modes", "host", "told"),
    [
        (["regular"], "", "all interfaces (regular)"),
        (["regular", "socks5@1080"], "", "all interfaces (regular, socks5@1080)"),
        (["regular@127.0.0.1:8080", "reverse:https://a.example@8081"], "", "(reverse:https://a.ex"),
        (["upstream:http://a.example"], "0.0.0.0", "all interfaces (upstream"),
        (["regular@127.0.0.1:8080", "socks5@127.0.0.1:1080"], "", None),
        (["regular"], "127.0.0.1", None),
        (["transparent", "wireguard", "local:curl", "tun"], "", None),
        (
            ["reverse:tls://api.anthropic.com:443@127.0.0.1:8080"],
            "",
            "use reverse:https://api.anth",
        ),
        (["reverse:tcp://mail.example:25@127.0.0.1:25"], "", None),
    ],
)
async def test_what_is_said_is_true_of_the_modes_given(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, modes: list[str], host: str, told: str | None
) -> None:
    caplog.set_level("WARNING")
    proxy.set(mode=modes, listen_host=host)
    caplog.clear()
    proxy.running()
    said = [record.getMessage() for record in caplog.records]
    assert (said == []) if told is None else (len(said) == 1 and told in said[0])


async def test_it_is_said_once_and_again_when_it_is_switched_on_again(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    said = []
    for changed in ({"allow_remote": True}, {"retries": 1}, {"allow_remote": False}) * 2:
        proxy.set(**{f"sessionbridge_{name}": value for name, value in changed.items()})
        said.append(caplog.text.count("clients on other machines"))
    assert said == [1, 1, 1, 2, 2, 2]
