"""Qwen Code on Chat Completions. It names no conversation, so its first message does.

Its lines of JSON are one process for the whole conversation, as its terminal is. Where it is
started again for each turn (`qwen --continue`), it shows another first message than before, without
the date it had put there, and each turn is an import.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.programs.place import NOTE, Dialogue, Place, needed
from tests.programs.talks import (
    ASKED,
    MET,
    NAMED,
    TOLD,
    bridged,
    instructed,
    offered,
    plans,
    reverse_proxy,
    shown,
    without,
)
from tests.support.scripted_api import ScriptedServer

SETTINGS = {
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False},
}
# After each answer that no tool had a part in, a call of its own looks after its memory: the same
# history under another system prompt, which has a branch of its own.
REMEMBERED = "fork other_settings"
PLANS = [
    *("fresh first_turn", REMEMBERED),
    *("resume continued", REMEMBERED),
    *("resume continued", "resume tool_results"),
    *("resume continued", REMEMBERED),
]
OWN = (
    "<system-reminder>\nThis is the Qwen Code. We are setting up the context for our chat.",
    "<system-reminder>\nThe following skills are available for use with the Skill tool.",
    "<system-reminder>\nThe following tools are reachable through `tool_search` and `tool_call`.",
    "<system-reminder>\nThe current date is: ",
)
LINES = ("--input-format", "stream-json", "--output-format", "stream-json")


def ask(dialogue: Dialogue, text: str) -> str:
    """What Qwen Code answers, at last: it remembers what is worth it before it says so."""
    dialogue.say({"type": "user", "message": {"role": "user", "content": text}})
    *_, result = dialogue.hear({"type": "result"})
    assert result["subtype"] == "success", result
    return str(result["result"])


def test_qwen_code_goes_on_in_one_process(
    tmp_path: Path, api: ScriptedServer, place: Place
) -> None:
    qwen = needed(".bin/qwen", node=22)
    place.write(".qwen/settings.json", json.dumps(SETTINGS))
    with reverse_proxy(tmp_path, api, unkeyed="fingerprint") as proxy:
        key = {"OPENAI_API_KEY": "sk-dummy", "OPENAI_MODEL": "claude-sonnet-5"}
        place.variables.update(key, OPENAI_BASE_URL=f"{proxy.url}/v1")
        with place.talking(qwen, *LINES) as dialogue:
            assert ask(dialogue, NAMED) == MET
            assert instructed(api, "You are Qwen Code")
            assert ask(dialogue, ASKED) == TOLD
            said = [("user", NAMED), ("assistant", MET), ("user", ASKED)]
            assert without(api, OWN, shown(api, ASKED)) == said

            note = json.dumps({"file_path": str(place.work / "note.txt")})
            call = f"[call {offered(api, 'read_file')} {note}]"
            assert ask(dialogue, f"Read it. {call}") == f"Returned: {NOTE}"
            assert ask(dialogue, ASKED) == TOLD
        turns = bridged(proxy, "fingerprint", 8)
    assert plans(turns) == PLANS
    assert len({turn["external_id"] for turn in turns}) == 1
