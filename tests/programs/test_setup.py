"""Programs whose configuration `sessionbridge setup` has written ask the bridge."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.programs.place import Place, needed
from tests.programs.talks import MET, NAMED, reverse_proxy, shown, without
from tests.programs.test_qwen_code import OWN
from tests.support.proxy import TOOLS, Proxy, wait_for
from tests.support.scripted_api import ScriptedServer

CODEX = """\
# settings of its own stay
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false
"""
QWEN_CODE = """\
{
  // settings of its own stay
  "privacy": {"usageStatisticsEnabled": false},
  "telemetry": {"enabled": false},
  "general": {"enableAutoUpdate": false},
  "memory": {"enableManagedAutoMemory": false}, // no further turns after the answer
  "ui": {"enableFollowupSuggestions": false}
}
"""
CLINE = json.dumps({"telemetryOptOut": True, "autoUpdateEnabled": False})


def set_up(name: str, place: Place, proxy: Proxy) -> None:
    home = str(proxy.home / "bridge")
    command = [str(TOOLS / "sessionbridge"), "--home", home, "setup", name, "--yes"]
    variables = {"HOME": str(place.home), "PATH": "/usr/bin"}
    done = subprocess.run(
        [*command, "--port", str(proxy.ports[0])], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0 and "No bridge" not in done.stdout, done.stderr


def bridged(proxy: Proxy) -> list[dict[str, Any]]:
    """What the bridge made of the requests; there is one at least."""
    return wait_for(
        lambda: [flow["metadata"] for flow in proxy.flows() if flow["metadata"]], "a turn"
    )


def test_codex(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    codex = needed(".bin/codex")
    place.write(".codex/config.toml", CODEX)
    with reverse_proxy(tmp_path, api) as proxy:
        set_up("codex", place, proxy)
        assert place.run(codex, "exec", "--skip-git-repo-check", NAMED).strip() == MET
        assert {turn["platform"] for turn in bridged(proxy)} == {"codex"}


def test_qwen_code(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    """Its session's id is the conversation's."""
    qwen = needed(".bin/qwen", node=22)
    place.write(".qwen/settings.json", QWEN_CODE)
    with reverse_proxy(tmp_path, api) as proxy:
        set_up("qwen-code", place, proxy)
        told = json.loads(place.run(qwen, "--output-format", "json", "-p", NAMED))[-1]
        assert told["result"] == MET
        assert without(api, OWN, shown(api, NAMED)) == [("user", NAMED)]
        turns = bridged(proxy)
        assert {turn["external_id"] for turn in turns} == {told["session_id"]}


def test_cline(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    place.variables.update(CLINE_SESSION_BACKEND_MODE="local", CLINE_NO_AUTO_UPDATE="1")
    place.write(".cline/data/settings/global-settings.json", CLINE)
    with reverse_proxy(tmp_path, api) as proxy:
        set_up("cline", place, proxy)
        printed = place.run(needed("cline/bin/cline"), "--json", "--auto-approve", "true", NAMED)
        assert MET in printed
        assert {turn["external_id"] for turn in bridged(proxy)} == {"cline"}
