"""A conversation that moves from a proxy of its own to nodes that share a database, and back."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from sessionbridge.cli.main import cli
from sessionbridge.sessions.store.places import VARIABLE
from tests.support.proxy import Proxy, environment, running_proxy
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"


def say(proxy: Proxy, text: str, provider: str = "claude") -> str:
    """The answer to a person whose history is kept here."""
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    headers = {"X-GoClaw-User-Id": "mover", "X-SessionBridge-Provider": provider}
    answer = proxy.http(headers=headers).post(MESSAGES, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"][0]["text"])


def migrate(folder: Path, *ends: str, store: str, config: Path) -> str:
    """In the home of a proxy of this folder."""
    command = ["--home", str(folder / "bridge"), "migrate", *ends, "--config", str(config)]
    done = CliRunner().invoke(cli, command, env=environment(folder) | {VARIABLE: store})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_is_remembered_by_the_nodes_and_after_the_way_back(
    tmp_path: Path, api: ScriptedServer, database: str
) -> None:
    """Both at the default provider and at another, which has a folder of Claude's of its own."""
    config, secret = tmp_path / "providers.toml", tmp_path / "secret"
    secret.write_text("sk-ant-account-two")
    env = f'ANTHROPIC_BASE_URL = "{api.url}", ANTHROPIC_AUTH_TOKEN = "file:{secret}"'
    config.write_text(f'[providers.two]\nconfig_dir = "~/two"\nenv = {{ {env} }}\n')
    options = {"config": str(config)}
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for folder in (one, two, three):
        folder.mkdir()
    names = {"claude": "Tess", "two": "Una"}
    with running_proxy(one, api.url, options=options) as proxy:
        for provider, name in names.items():
            say(proxy, f"My name is {name}.", provider)
    assert "All are the same." in migrate(one, "--from", "sqlite:", store=database, config=config)
    with running_proxy(two, api.url, options=options, env={VARIABLE: database}) as proxy:
        for provider, name in names.items():
            assert say(proxy, "Who am I? (on a node)", provider) == f"Your name is {name}."
    assert [len(shown) for shown in api.seen("(on a node)")] == [3, 3]
    assert "All are the same." in migrate(three, "--to", "sqlite:", store=database, config=config)
    with running_proxy(three, api.url, options=options) as proxy:
        for provider, name in names.items():
            assert say(proxy, "Who am I? (back again)", provider) == f"Your name is {name}."
    assert [len(shown) for shown in api.seen("(back again)")] == [5, 5]
