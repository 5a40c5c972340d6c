"""Cline on the Messages API. It names no conversation, so its first message does.

It is spoken to as editors do, by the Agent Client Protocol: its command line goes on with a
conversation only in a terminal.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

from tests.programs.place import NOTE, Dialogue, Place, needed
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

# The key stands for Cline's own login too, without which it serves no editor. `local`: no daemon.
VARIABLES = {
    "CLINE_API_KEY": "sk-ant-dummy",
    "CLINE_PROVIDER": "anthropic",
    "CLINE_MODEL": "claude-sonnet-4-6",
    "CLINE_SESSION_BACKEND_MODE": "local",
    "CLINE_NO_AUTO_UPDATE": "1",
}
GLOBAL = json.dumps({"telemetryOptOut": True, "autoUpdateEnabled": False})
COMMANDS = {"commands": ["cat note.txt"]}


def providers(base_url: str) -> str:
    anthropic = {
        "provider": "anthropic",
        "apiKey": "sk-ant-dummy",
        "model": VARIABLES["CLINE_MODEL"],
        "baseUrl": base_url,
    }
    kept = {"settings": anthropic, "updatedAt": "2026-01-01T00:00:00Z", "tokenSource": "manual"}
    return json.dumps({"version": 1, "providers": {"anthropic": kept}, "modes": {}})


class Editor:
    """The part of the protocol that an editor needs for one conversation."""

    def __init__(self, dialogue: Dialogue, folder: Path) -> None:
        self._dialogue = dialogue
        self._numbers = count(1)
        self._request("initialize", protocolVersion=1, clientCapabilities={})
        *_, opened = self._request("session/new", cwd=str(folder), mcpServers=[])
        self._session = opened["result"]["sessionId"]

    def ask(self, text: str) -> str:
        """What Cline answers."""
        prompt = [{"type": "text", "text": text}]
        *told, last = self._request("session/prompt", sessionId=self._session, prompt=prompt)
        assert last.get("result") == {"stopReason": "end_turn"}, last
        updates = [message["params"]["update"] for message in told]
        return "".join(
            update["content"]["text"]
            for update in updates
            if update["sessionUpdate"] == "agent_message_chunk"
        )

    def _request(self, method: str, **params: Any) -> list[dict[str, Any]]:
        number = next(self._numbers)
        self._dialogue.say({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return self._dialogue.hear({"id": number})


def test_cline_goes_on_in_one_session(tmp_path: Path, api: ScriptedServer, place: Place) -> None:
    place.variables.update(VARIABLES)
    place.write(".cline/data/settings/global-settings.json", GLOBAL)
    with reverse_proxy(tmp_path, api, unkeyed="fingerprint") as proxy:
        place.write(".cline/data/settings/providers.json", providers(f"{proxy.url}/v1"))
        command = (needed("cline/bin/cline"), "--acp", "--auto-approve", "true")
        with place.talking(*command) as dialogue:
            editor = Editor(dialogue, place.work)
            assert editor.ask(NAMED) == MET
            assert instructed(api, "You are Cline")
            assert editor.ask(ASKED) == TOLD
            said = [("user", NAMED), ("assistant", MET), ("user", ASKED)]
            assert shown(api, ASKED) == said

            call = f"[call {offered(api, 'run_commands')} {json.dumps(COMMANDS)}]"
            told = editor.ask(f"Read it. {call}")
            assert told.startswith("Read it.Returned:") and NOTE in told
            assert editor.ask(ASKED) == TOLD
        turns = bridged(proxy, "fingerprint", 5)
    assert plans(turns) == CONTINUED
    assert len({turn["session"] for turn in turns}) == 1
