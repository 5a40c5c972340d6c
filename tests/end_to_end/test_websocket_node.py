"""The official client's WebSocket for Node, unmodified, in two modes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.proxy import ROOT, running_proxy
from tests.support.scripted_api import ScriptedServer

PROGRAM = ROOT / "tests" / "node" / "websocket.mjs"


@pytest.mark.skipif(
    shutil.which("node") is None or not (PROGRAM.parent / "node_modules" / "ws").is_dir(),
    reason="needs Node and its packages: scripts/setup-node",
)
@pytest.mark.parametrize("mode", ["regular@0", "reverse:https://api.openai.com@0"])
def test_two_turns_on_one_websocket(tmp_path: Path, api: ScriptedServer, mode: str) -> None:
    with running_proxy(tmp_path, api.url, "--mode", mode) as proxy:
        variables = {
            "PATH": os.environ["PATH"],
            "BASE_URL": f"{proxy.url}/v1",
            "HEADERS": json.dumps({"x-sessionbridge-session": "node-ws"}),
        }
        if mode.startswith("regular"):
            ca = str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem")
            at = {"BASE_URL": "https://api.openai.com/v1", "PROXY": proxy.url, "CA": ca}
            variables |= at
        ran = subprocess.run(
            ["node", PROGRAM], env=variables, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        (flow,) = proxy.bridged("node-ws", 1)
        assert proxy.connected_hosts() == {"127.0.0.1"}
    told = json.loads(ran.stdout)
    assert told["said"] == ["Nice to meet you, Bob!", "Your name is Bob."]
    assert told["types"].count("response.created") == 2
    assert (flow["metadata"]["turns"], flow["metadata"]["reason"]) == (2, "continued")
