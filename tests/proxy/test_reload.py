"""The entry file loaded by mitmproxy itself: once more when it changes, and beside others."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.end_to_end.test_end_to_end import messages_json
from tests.support.proxy import DOOR, Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, assistant, user

HELLO, QUESTION = user("My name is Rio."), user("What is my name?")
KEYED = {"X-OpenClaw-Session": "reloaded"}
NAMESAKES = """
class Options: ...
class Commands: ...
class Passthrough: ...
addons = [Options(), Commands(), Passthrough()]
"""


def door_of_its_own(folder: Path) -> Path:
    """So that no other proxy loads it again."""
    folder.mkdir()
    (folder / "sessionbridge").symlink_to(DOOR.with_suffix(""))
    return Path(shutil.copy(DOOR, folder))


def load_again(proxy: Proxy, door: Path) -> None:
    before = proxy.log.count("Loading script")
    later = door.stat().st_mtime + 10
    os.utime(door, (later, later))
    wait_for(lambda: proxy.log.count("Loading script") > before, "the script to be loaded again")


def test_a_conversation_outlives_the_loading(tmp_path: Path, api: ScriptedServer) -> None:
    door = door_of_its_own(tmp_path / "door")
    with running_proxy(tmp_path, api.url, door=door) as proxy:
        assert messages_json(proxy, KEYED, False)([HELLO]) == "Nice to meet you, Rio!"
        for _ in range(2):
            load_again(proxy, door)
        told = [HELLO, assistant("Nice to meet you, Rio!"), QUESTION]
        assert messages_json(proxy, KEYED, False)(told) == "Your name is Rio."
        assert proxy.bridged("reloaded", 2)[1]["metadata"]["reason"] == "continued"
        assert proxy.connected_hosts() == {"127.0.0.1"}
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(20) == 0
        assert "Traceback" not in proxy.log


def test_an_addon_of_the_users_may_be_called_as_one_of_ours(
    tmp_path: Path, api: ScriptedServer
) -> None:
    namesakes = tmp_path / "namesakes.py"
    namesakes.write_text(NAMESAKES)
    with running_proxy(tmp_path, api.url, "-s", str(namesakes)) as proxy:
        assert messages_json(proxy, KEYED, False)([HELLO]) == "Nice to meet you, Rio!"
        assert "already exists" not in proxy.log
