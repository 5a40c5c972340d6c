"""The official client for Node, unmodified, in reverse mode: a tool loop, streamed and not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sessionbridge.apis.common.summary import shown
from tests.support.proxy import ROOT, running_proxy
from tests.support.scripted_api import ScriptedServer

PROGRAM = ROOT / "tests" / "node" / "agent.mjs"
RESULTS = {
    "look 1": 'one seen [call note {"step": 2}]',
    "note 2": 'two noted [call look {"step": 3}] [call note {"step": 3}]',
    "look 3": "three seen",
    "note 3": 'three noted [call note {"step": 4}]',
    "note 4": 'four noted [call look {"step": 5}]',
    "look 5": "five seen",
}


pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (PROGRAM.parent / "node_modules").is_dir(),
    reason="needs Node and its packages: scripts/setup-node",
)


def test_a_node_agent_works_through_the_bridge(tmp_path: Path, api: ScriptedServer) -> None:
    mode = ("--mode", f"reverse:{api.url}@0")
    with running_proxy(tmp_path, api.url, *mode) as proxy:
        variables = {
            "PATH": os.environ["PATH"],
            "BASE_URL": proxy.url,
            "HEADERS": json.dumps({"x-session-affinity": "node-1", "x-session-id": "node-1"}),
            "PROMPT": 'node-1 [call look {"step": 1}]',
            "RESULTS": json.dumps(RESULTS),
        }
        ran = subprocess.run(
            ["node", PROGRAM], env=variables, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        flows = proxy.bridged("node-1", 6)
    told = json.loads(ran.stdout)
    assert told["called"] == [
        ["look", 1],
        ["note", 2],
        ["look", 3],
        ["note", 3],
        ["note", 4],
        ["look", 5],
    ]
    assert (told["text"], told["stop"]) == ("Returned: five seen", "end_turn")
    assert [flow["metadata"]["reason"] for flow in flows] == ["first_turn", *["tool_results"] * 5]


def test_the_tool_runner_for_node_compacts(tmp_path: Path, api: ScriptedServer) -> None:
    mode = ("--mode", f"reverse:{api.url}@0")
    summary = 'Node saw 1. [call look {"step": 2}]'
    said = json.dumps({"content": [{"type": "text", "text": summary}]})
    with running_proxy(tmp_path, api.url, *mode) as proxy:
        variables = {
            "PATH": os.environ["PATH"],
            "BASE_URL": proxy.url,
            "HEADERS": json.dumps({"x-session-affinity": "node-2", "x-session-id": "node-2"}),
            "PROMPT": 'node-2 [call look {"step": 1}]',
            "INSTRUCTIONS": f"[answer {said}]",
        }
        ran = subprocess.run(
            ["node", PROGRAM.with_name("compaction.mjs")],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr
    assert [stop for stop, _ in json.loads(ran.stdout)] == [
        "tool_use",
        "compaction",
        "tool_use",
        "end_turn",
    ]
    assert [("user", shown(summary)["text"])] in api.seen("Node saw 1.")
