"""A program whose configuration `sessionbridge setup` has written asks the bridge."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.programs.place import Place, needed
from tests.programs.talks import MET, NAMED, reverse_proxy
from tests.support.proxy import TOOLS
from tests.support.scripted_api import ScriptedServer

OWN = """\
# settings of its own stay
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false
"""


def test_codex(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    codex = needed(".bin/codex")
    place.write(".codex/config.toml", OWN)
    with reverse_proxy(tmp_path, api) as proxy:
        command = [str(TOOLS / "sessionbridge"), "--home", str(tmp_path / "bridge"), "setup"]
        variables = {"HOME": str(place.home), "PATH": "/usr/bin"}
        port = str(proxy.ports[0])
        done = subprocess.run(
            [*command, "codex", "--port", port, "--yes"],
            env=variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "No bridge" not in done.stdout, done.stderr
        assert place.run(codex, "exec", "--skip-git-repo-check", NAMED).strip() == MET
        flows = [flow["metadata"] for flow in proxy.flows() if flow["metadata"]]
        assert {flow["platform"] for flow in flows} == {"codex"}
