"""Claude accounts as the config names them: what may stand there, and where their secrets are."""

import re
from pathlib import Path

import pytest

from sessionbridge.config import Settings, load
from sessionbridge.errors import SecretMissing

TWO = """
[models]
fast = "haiku"

[providers.team]
config_dir = "/srv/claude/team"
claude = "~/bin/claude"
models = { fast = "sonnet" }
for_models = ["team-*"]
for_clients = ["ann"]
for_platforms = ["openclaw"]
fallback = ["key", "claude"]
live = 0
budgets = [{ per = "day", usd = 5 }]

[providers.key]
env = { ANTHROPIC_API_KEY = "env:KEY_TWO", ANTHROPIC_BASE_URL = "https://gateway.example" }

[providers.vertex]
env = { CLAUDE_CODE_SKIP_VERTEX_AUTH = "1" }
"""


def configured(tmp_path: Path, text: str, **options: object) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(text)
    given: dict[str, object] = {f"sessionbridge_{name}": value for name, value in options.items()}
    given |= {"sessionbridge_home": str(tmp_path), "sessionbridge_config": str(file)}
    return load(given, {})


def test_a_provider_has_settings_of_its_own_and_the_others_are_the_options(tmp_path: Path) -> None:
    settings = configured(tmp_path, TWO, concurrency=7, live=3)
    assert list(settings.providers) == ["claude", "team", "key", "vertex"]
    assert settings.default_provider == settings.provider == "claude"
    team, key = settings.of("team"), settings.of("key")
    assert (team.live, team.concurrency, key.live) == (0, 7, 3)
    assert team.claude == Path("~/bin/claude").expanduser() and key.claude is None
    assert team.models == (("fast", "sonnet"), ("fast", "haiku"))
    assert key.models == settings.models == (("fast", "haiku"),)
    assert settings.providers["team"].budgets[0].usd == 5


def test_a_table_may_change_the_default(tmp_path: Path) -> None:
    assert configured(tmp_path, "[providers.claude]\nlive = 1").of("claude").live == 1
    assert configured(tmp_path, "[providers.key]\ndefault = true").default_provider == "key"


@pytest.mark.parametrize(
    ("env", "vendor"),
    [
        ({}, "anthropic"),
        ({"ANTHROPIC_BASE_URL": "https://gateway.example"}, "anthropic"),
        ({"CLAUDE_CODE_USE_BEDROCK": "1"}, "aws.bedrock"),
        ({"CLAUDE_CODE_USE_BEDROCK": "0"}, "anthropic"),
        ({"CLAUDE_CODE_USE_VERTEX": "True"}, "gcp.vertex_ai"),
        ({"CLAUDE_CODE_USE_VERTEX": "env:IS_ON"}, "gcp.vertex_ai"),
        ({"CLAUDE_CODE_USE_VERTEX": "env:NOWHERE"}, "anthropic"),
        ({"CLAUDE_CODE_USE_FOUNDRY": "yes"}, "azure.ai.inference"),
        ({"CLAUDE_CODE_USE_MANTLE": "on"}, "aws.bedrock"),
        ({"CLAUDE_CODE_USE_VERTEX": "1", "CLAUDE_CODE_USE_BEDROCK": "1"}, "aws.bedrock"),
        ({"CLAUDE_CODE_USE_VERTEX": "1", "CLAUDE_CODE_USE_ANTHROPIC_AWS": "1"}, "anthropic"),
    ],
)
def test_who_serves_the_model_is_told_by_the_environment(
    tmp_path: Path, env: dict[str, str], vendor: str
) -> None:
    table = ", ".join(f'{name} = "{value}"' for name, value in env.items())
    settings = configured(tmp_path, f"[providers.cloud]\nenv = {{ {table} }}")
    inherited = {"IS_ON": "1", "CLAUDE_CODE_USE_BEDROCK": "1"}  # which the CLI does not get
    assert settings.of("cloud").environment(inherited).vendor == vendor
    given = [f"{name}={value}" for name, value in env.items() if ":" not in value]
    if len(given) == len(env):
        default = configured(tmp_path, "", claude_env=given)
        assert default.environment(inherited).vendor == vendor


def test_one_account_s_environment_is_not_another_s(tmp_path: Path) -> None:
    given = ["ANTHROPIC_API_KEY=one"]
    settings = configured(tmp_path, TWO, claude_env=given)
    assert dict(settings.environment({})) == {"ANTHROPIC_API_KEY": "one"}
    assert dict(settings.of("key").environment({"KEY_TWO": "two"})) == {
        "ANTHROPIC_API_KEY": "two",
        "ANTHROPIC_BASE_URL": "https://gateway.example",
    }
    assert dict(settings.of("team").environment({})) == {"CLAUDE_CONFIG_DIR": "/srv/claude/team"}


def test_a_secret_is_read_where_it_is_each_time(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    text = f'[providers.key]\nenv = {{ ANTHROPIC_API_KEY = "file:{secret}" }}'
    environment = configured(tmp_path, text).of("key").environment({})
    for value in ("one", "two"):
        secret.write_text(f"{value}\n")
        assert environment["ANTHROPIC_API_KEY"] == value


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:KEY_TWO", "the variable KEY_TWO, which is not set"),
        ("file:/nowhere/key", "/nowhere/key, which cannot be read .No such file or directory."),
        ("file:/dev/null", "/dev/null, which is empty"),
    ],
)
def test_a_secret_that_is_not_there(tmp_path: Path, reference: str, why: str) -> None:
    text = f'[providers.key]\nenv = {{ ANTHROPIC_API_KEY = "{reference}" }}'
    environment = configured(tmp_path, text).of("key").environment({})
    assert "ANTHROPIC_API_KEY" in environment and list(environment) == ["ANTHROPIC_API_KEY"]
    with pytest.raises(SecretMissing, match="provider key is without a secret") as missing:
        environment["ANTHROPIC_API_KEY"]
    assert re.search(f"provider key has no ANTHROPIC_API_KEY: .*{why}", missing.value.found)
    assert reference.partition(":")[2] not in missing.value.message  # which any client may see


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('env = { ANTHROPIC_API_KEY = "sk-ant-secret" }', "looks like a secret"),
        ('env = { GATEWAY = "sk-ant-secret" }', "looks like a secret"),
        ('env = { ANTHROPIC_BASE_URL = "https://me:secret@gateway" }', "looks like a secret"),
        ('env = { ANTHROPIC_BASE_URL = "https://secret@gateway" }', "looks like a secret"),
        ('env = { ANTHROPIC_BASE_URL = "https://gateway?api_key=secret" }', "looks like a secret"),
        ('env = { ANTHROPIC_API_KEY = "env:" }', "names nothing behind the colon"),
        ('env = { "A B" = "secret" }', "not the name of a variable"),
        ('env = { CLAUDE_CONFIG_DIR = "/srv" }', "as config_dir"),
        ('fallback = ["nobody"]', "fallback names 'nobody', which is none"),
        ('fallback = ["key"]', "fallback names 'key' itself; name others"),
        (
            'for_platforms = ["openclow"]',
            "for_platforms names 'openclow', which is none; .* openclaw",
        ),
        ('config_dir = ""', "config_dir: .*this is empty; name a path"),
        ('for_clients = [""]', "for_clients.0: .*at least 1 character"),
        ('models = { fast = "--version" }', "names no model of the Claude CLI"),
        ("live = -1", "greater than or equal to 0"),
        ("budget = 1", "Extra inputs are not permitted"),
    ],
)
def test_what_a_table_may_not_say(tmp_path: Path, table: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        configured(tmp_path, f"[providers.key]\n{table}")
    assert "secret@" not in str(caught.value) and "ant-secret" not in str(caught.value)
    assert "=secret" not in str(caught.value)


def test_tables_that_cannot_be_obeyed_together(tmp_path: Path) -> None:
    both = "[providers.a]\ndefault = true\n[providers.b]\ndefault = true"
    with pytest.raises(ValueError, match="a and b are both the default"):
        configured(tmp_path, both)
    with pytest.raises(ValueError, match="'a b' is no name"):
        configured(tmp_path, '[providers."a b"]')
