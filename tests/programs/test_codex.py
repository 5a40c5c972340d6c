"""Codex with its default model: Responses, under the thread's id."""

from __future__ import annotations

import json
from pathlib import Path

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
