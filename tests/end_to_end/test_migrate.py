"""A conversation that moves from a proxy of its own to nodes that share a database, and back."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from sessionbridge.cli.main import cli
from sessionbridge.sessions.store.places import VARIABLE
from tests.support.proxy import Proxy, environment, running_proxy
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"


def say(proxy: Proxy, text: str) -> str:
    """The answer to a person whose history is kept here."""
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    answer = proxy.http(headers={"X-GoClaw-User-Id": "mover"}).post(MESSAGES, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"][0]["text"])


def migrate(folder: Path, *ends: str, store: str) -> str:
    """In the home of a proxy of this folder."""
    command = ["--home", str(folder / "bridge"), "migrate", *ends]
    done = CliRunner().invoke(cli, command, env=environment(folder) | {VARIABLE: store})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_is_remembered_by_the_nodes_and_after_the_way_back(
    tmp_path: Path, api: ScriptedServer, database: str
) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    with running_proxy(one, api.url) as proxy:
        say(proxy, "My name is Tess.")
    assert "All are the same." in migrate(one, "--from", "sqlite:", store=database)
    with running_proxy(two, api.url, env={VARIABLE: database}) as proxy:
        assert say(proxy, "Who am I? (on a node)") == "Your name is Tess."
    assert [len(shown) for shown in api.seen("(on a node)")] == [3]
    assert "All are the same." in migrate(three, "--to", "sqlite:", store=database)
    with running_proxy(three, api.url) as proxy:
        assert say(proxy, "Who am I? (back again)") == "Your name is Tess."
    assert [len(shown) for shown in api.seen("(back again)")] == [5]
