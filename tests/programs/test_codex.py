"""Codex with its default model: Responses, under the thread's id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


# With the provider that it has built in.
BUILT_IN = """
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{address}
[analytics]
enabled = false
"""
KEY = json.dumps({"OPENAI_API_KEY": "sk-client-key"})


def test_codex_as_it_comes_asks_on_a_websocket(
    tmp_path: Path, api: ScriptedServer, place: Place
) -> None:
    codex = (needed(".bin/codex"), "exec")
    further = (*codex, "resume", "--last", "--skip-git-repo-check")
    (tmp_path / "proxy").mkdir()
    mode = ("--mode", "reverse:https://api.openai.com@0")
    with running_proxy(tmp_path / "proxy", api.url, *mode) as proxy:
        address = f'openai_base_url = "{proxy.url}/v1"'
        place.write(".codex/config.toml", BUILT_IN.format(address=address))
        place.write(".codex/auth.json", KEY)
        assert place.run(*codex, "--skip-git-repo-check", NAMED).strip() == MET
        call = f"[call {offered(api, 'exec')} {json.dumps({'input': SCRIPT})}]"
        printed = place.run(*further, f"Read it. {call}")
        assert printed.startswith("Returned:") and NOTE in printed
        assert place.run(*further, ASKED).strip() == TOLD
        flows = sockets(proxy, 3)
    assert {flow["metadata"]["platform"] for flow in flows} == {"codex"}
    assert len({flow["metadata"]["external_id"] for flow in flows}) == 1
    assert [flow["metadata"]["turns"] for flow in flows] == [1, 2, 1]
    assert plans([flow["metadata"] for flow in flows]) == [
        "fresh first_turn",
        "resume tool_results",
        "resume continued",
    ]


def test_codex_finds_the_proxy_by_its_environment(
    tmp_path: Path, api: ScriptedServer, place: Place
) -> None:
    """It looks elsewhere for models and plugins, which takes it ten seconds without a network."""
    (tmp_path / "proxy").mkdir()
    with running_proxy(tmp_path / "proxy", api.url) as proxy:
        ca = proxy.home / "mitm" / "mitmproxy-ca-cert.pem"
        place.variables.update(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=str(ca))
        place.write(".codex/config.toml", BUILT_IN.format(address=""))
        place.write(".codex/auth.json", KEY)
        command = (needed(".bin/codex"), "exec", "--skip-git-repo-check", NAMED)
        assert place.run(*command).strip() == MET
        (flow,) = sockets(proxy, 1)
        assert flow["url"] == "https://api.openai.com/v1/responses"
        assert flow["metadata"]["platform"] == "codex"
        assert "api.openai.com" not in proxy.connected_hosts()


def sockets(proxy: Proxy, count: int) -> list[dict[str, Any]]:
    """Those that have ended. There was no request for a turn beside them."""

    def found() -> list[dict[str, Any]] | None:
        ended = [flow for flow in proxy.flows() if flow["url"].endswith("/v1/responses")]
        return ended if len(ended) >= count else None

    flows = wait_for(found, f"the end of {count} WebSockets")
    assert [flow["status"] for flow in flows] == [101] * count
    return flows
