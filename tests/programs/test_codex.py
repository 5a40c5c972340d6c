"""Codex with its default model: Responses, under the thread's id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.programs.place import NOTE, Place, needed
from tests.programs.talks import (
    ASKED,
    CONTINUED,
    MET,
    NAMED,
    TOLD,
    bridged,
    instructed,
    offered,
    plans,
    reverse_proxy,
    shown,
)
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

# The sandbox is off because it needs rights that a container does not have; one command is run.
CONFIG = """
model_provider = "bridge"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.bridge]
name = "Claude by the bridge"
base_url = "{url}/v1"
wire_api = "responses"
"""
# Its one tool runs a script, and that runs the commands.
SCRIPT = 'const ran = await tools.exec_command({cmd: "cat note.txt"}); text(ran.output);'


def test_codex_resumes_its_thread(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    codex = (needed(".bin/codex"), "exec")
    further = (*codex, "resume", "--last", "--skip-git-repo-check")
    with reverse_proxy(tmp_path, api) as proxy:
        place.write(".codex/config.toml", CONFIG.format(url=proxy.url))
        assert place.run(*codex, "--skip-git-repo-check", NAMED).strip() == MET
        assert instructed(api, "You are Codex")
        assert place.run(*further, ASKED).strip() == TOLD
        (_, first), answer, question = shown(api, ASKED)
        assert first.endswith(NAMED)
        assert [answer, question] == [("assistant", MET), ("user", ASKED)]

        call = f"[call {offered(api, 'exec')} {json.dumps({'input': SCRIPT})}]"
        printed = place.run(*further, f"Read it. {call}")
        assert printed.startswith("Returned:") and NOTE in printed
        assert place.run(*further, ASKED).strip() == TOLD
        turns = bridged(proxy, "codex", 5)
    assert plans(turns) == CONTINUED
    assert len({turn["external_id"] for turn in turns}) == 1


# The provider that Codex has built in, by an address of its own in reverse mode; by what its
# environment says of proxies in the other.
BUILT_IN = """
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{address}
[analytics]
enabled = false
"""
# Where it looks for other things, out of reach.
ELSEWHERE = "chatgpt.com,github.com,api.github.com"


@pytest.mark.parametrize("mode", ["reverse:https://api.openai.com@0", "regular@0"])
def test_codex_as_it_comes_asks_on_a_websocket(
    tmp_path: Path, api: ScriptedServer, place: Place, mode: str
) -> None:
    codex = (needed(".bin/codex"), "exec")
    further = (*codex, "resume", "--last", "--skip-git-repo-check")
    home = tmp_path / "proxy"
    home.mkdir()
    with running_proxy(home, api.url, "--mode", mode) as proxy:
        address = ""
        if mode.startswith("reverse"):
            address = f'openai_base_url = "{proxy.url}/v1"'
        else:
            ca = str(home / "mitm" / "mitmproxy-ca-cert.pem")
            place.variables.update(HTTPS_PROXY=proxy.url, NO_PROXY=ELSEWHERE, SSL_CERT_FILE=ca)
        place.write(".codex/config.toml", BUILT_IN.format(address=address))
        place.write(".codex/auth.json", json.dumps({"OPENAI_API_KEY": "sk-client-key"}))
        assert place.run(*codex, "--skip-git-repo-check", NAMED).strip() == MET
        call = f"[call {offered(api, 'exec')} {json.dumps({'input': SCRIPT})}]"
        printed = place.run(*further, f"Read it. {call}")
        assert printed.startswith("Returned:") and NOTE in printed
        assert place.run(*further, ASKED).strip() == TOLD
        flows = wait_for(lambda: sockets(proxy, 3), "the end of three WebSockets")
        asked = [flow["url"] for flow in proxy.flows() if flow["url"].endswith("/responses")]
        assert proxy.connected_hosts() == {"127.0.0.1"}
    assert len(asked) == 3 and {flow["metadata"]["platform"] for flow in flows} == {"codex"}
    assert [flow["metadata"]["turns"] for flow in flows] == [1, 2, 1]
    assert len({flow["metadata"]["external_id"] for flow in flows}) == 1
    assert plans([flow["metadata"] for flow in flows]) == [
        "fresh first_turn",
        "resume tool_results",
        "resume continued",
    ]


def sockets(proxy: Proxy, count: int) -> list[Any] | None:
    found = [flow for flow in proxy.flows() if flow["status"] == 101]
    return found if len(found) >= count else None
