"""What only the bridge holds is not lost with its database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.sessions.test_quarantine import checkpoint, overwrite
from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"
REFUSES = {"memory_lost": "error"}


def say(proxy: Proxy, text: str, timeout: float = 30) -> httpx.Response:
    """As a person whose history is kept here."""
    body: Any = {"model": "sonnet", "max_tokens": 9}
    body["messages"] = [{"role": "user", "content": text}]
    return proxy.http(headers={"X-GoClaw-User-Id": "ann"}).post(
        MESSAGES, json=body, timeout=timeout
    )


def delete(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def spoil(database: Path) -> None:
    checkpoint(database)
    overwrite(database)


@pytest.mark.parametrize("lose", [delete, spoil])
@pytest.mark.parametrize("options", [{}, REFUSES], ids=["fresh", "error"])
def test_it_is_lost_while_the_proxy_runs(
    tmp_path: Path, api: ScriptedServer, lose: Callable[[Path], None], options: dict[str, str]
) -> None:
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        assert say(proxy, "My name is Tess.").status_code == 200
        lose(proxy.database)
        answer = say(proxy, f"Who am I? ({tmp_path})")
        assert answer.headers["x-sessionbridge-reason"] == "appended"
        assert answer.json()["content"][0]["text"] == "Your name is Tess."
        assert "1 turns of 1 conversations are known again" in proxy.log
    assert [len(shown) for shown in api.seen(f"({tmp_path})")] == [3]


@pytest.mark.parametrize("lose", [delete, spoil])
def test_it_is_lost_while_the_proxy_is_down(
    tmp_path: Path, api: ScriptedServer, lose: Callable[[Path], None]
) -> None:
    with running_proxy(tmp_path, api.url) as proxy:
        say(proxy, "My name is Tess.")
        say(proxy, "I like tea.")
        database = proxy.database
    lose(database)
    with running_proxy(tmp_path, api.url, options=REFUSES) as proxy:
        answer = say(proxy, f"Who am I? ({tmp_path})")
        assert answer.json()["content"][0]["text"] == "Your name is Tess."
    assert [len(shown) for shown in api.seen(f"({tmp_path})")] == [5]


def test_the_transcripts_are_lost_too(tmp_path: Path, api: ScriptedServer) -> None:
    """That there was a conversation is known from what is beside them."""
    with running_proxy(tmp_path, api.url, options=REFUSES) as proxy:
        say(proxy, "My name is Tess.")
        database = proxy.database
    delete(database)
    for transcript in tmp_path.rglob("projects/*/*.jsonl"):
        transcript.unlink()
    with running_proxy(tmp_path, api.url, options=REFUSES) as proxy:
        assert say(proxy, "Who am I?").status_code == 409
        assert say(proxy, "Who am I?").headers["x-sessionbridge-reason"] == "first_turn"
