"""Settings: what is taken from where, and a sentence for everything that is wrong."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sessionbridge.config import Settings, load

SECRET = "sk-ant-secret"


def loaded(environment: dict[str, str] | None = None, **options: Any) -> Settings:
    return load(options, environment or {})


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "bridge.toml"


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded().home == tmp_path / ".sessionbridge"
    environment = {"SESSIONBRIDGE_HOME": str(tmp_path / "named")}
    assert loaded(environment).home == tmp_path / "named"
    option = loaded(environment, sessionbridge_home="~/option")
    assert option.home == tmp_path / "option"


@pytest.mark.acceptance(6, 19)
@pytest.mark.parametrize(
    ("value", "on"),
    [
        (None, True),
        ("", True),
        ("1", True),
        ("true", True),
        ("0", False),
        ("false", False),
        ("NO", False),
        (" off ", False),
    ],
)
def test_the_mapper_switch(value: str | None, on: bool) -> None:
    environment = {} if value is None else {"SESSIONBRIDGE_MAPPER": value}
    assert loaded(environment).mapper is on


@pytest.mark.acceptance(34)
def test_endpoints_and_origins(toml: Path) -> None:
    toml.write_text(
        '[[endpoints]]\nhost = "llm.local"\npath = "/chat"\napi = "chat"\n\n'
        '[[origins]]\nname = "teams"\nheader = "X-Teams-Conversation"\n'
    )
    settings = loaded(sessionbridge_config=str(toml))
    assert [(row.host, row.path, row.api) for row in settings.endpoints] == [
        ("llm.local", "/chat", "chat")
    ]
    assert [row.header for row in settings.origins] == [("x-teams-conversation",)]


def test_endpoints_by_name(toml: Path) -> None:
    toml.write_text(
        '[endpoints]\nuse = ["groq", "openrouter"]\n\n'
        '[[endpoints.own]]\nhost = "llm.local"\npath = "/chat"\napi = "chat"\n'
    )
    rows = loaded(sessionbridge_config=str(toml)).endpoints
    assert [(row.host, row.path, row.api) for row in rows] == [
        ("llm.local", "/chat", "chat"),
        ("api.groq.com", "/openai/v1/chat/completions", "chat"),
        ("api.groq.com", "/openai/v1/responses", "responses"),
        ("openrouter.ai", "/api/v1/messages", "messages"),
        ("openrouter.ai", "/api/v1/chat/completions", "chat"),
        ("openrouter.ai", "/api/v1/responses", "responses"),
    ]
    toml.write_text("[endpoints]\n")
    assert loaded(sessionbridge_config=str(toml)).endpoints == loaded().endpoints == ()


def test_models_keep_their_order(toml: Path) -> None:
    toml.write_text('[models]\n"gpt-*-mini" = "haiku"\n"gpt-*" = "sonnet"\n"O3" = "opus[1m]"\n')
    rows = (("gpt-*-mini", "haiku"), ("gpt-*", "sonnet"), ("O3", "opus[1m]"))
    assert loaded(sessionbridge_config=str(toml)).models == rows
    assert loaded().models == ()


@pytest.mark.parametrize(
    ("unkeyed", "effective"),
    [("passthrough", "stateless"), ("stateless", "stateless"), ("fingerprint", "fingerprint")],
)
def test_without_an_api_nothing_can_pass(unkeyed: str, effective: str) -> None:
    here = loaded(sessionbridge_unkeyed=unkeyed, sessionbridge_upstream=False)
    assert (here.unkeyed, here.upstream) == (effective, False)
    assert loaded(sessionbridge_unkeyed=unkeyed).unkeyed == unkeyed


def test_environment_of_the_cli() -> None:
    environment = {"PASSED": "on", "OTHER": "x"}
    settings = loaded(environment, sessionbridge_claude_env=["A=b=c", "PASSED", "MISSING"])
    assert settings.claude_env == {"A": "b=c", "PASSED": "on"}


NOT_TOML = {
    "not TOML": (b"[[endpoints", "is not TOML"),
    "not UTF-8": (b'# "\xff"', "is not UTF-8"),
    "unknown table": (b"[[paths]]\n", "paths: Extra inputs are not permitted"),
    "unknown api": (
        b'[[endpoints]]\nhost = "h"\npath = "/p"\napi = "completions"\n',
        "endpoints.0.api: Input should be",
    ),
    "unknown api of the table's own": (
        b'[endpoints]\nuse = ["groq"]\n[[endpoints.own]]\nhost = "h"\npath = "/p"\napi = "x"\n',
        "endpoints.0.api: Input should be",
    ),
    "a list and a table of endpoints": (
        b'[[endpoints]]\nhost = "h"\npath = "/p"\napi = "chat"\n[endpoints]\nuse = ["groq"]\n',
        "is not TOML: Cannot ",
    ),
    "unknown endpoint": (
        b'[endpoints]\nuse = ["groq", "grok"]\n',
        "use: 'grok' is none of azure-openai, deepseek,",
    ),
    "no list of endpoints": (b'[endpoints]\nuse = "groq"\n', "use and own are lists"),
    "unknown field of endpoints": (b'[endpoints]\nhosts = ["h"]\n', "'hosts' is not known here"),
    "wildcard within a host": (
        b'[[endpoints]]\nhost = "a.*.com"\npath = "/p"\napi = "chat"\n',
        "endpoints.0.host: String should match",
    ),
    "row without a signal": (b'[[origins]]\nname = "mine"\n', "origin 'mine'"),
    "one name twice": (
        b'[[origins]]\nname = "a"\nheader = "x"\n[[origins]]\nname = "a"\nheader = "y"\n',
        "origin 'a' is there twice",
    ),
    "a model that is not Claude's": (
        b'[models]\n"gpt-*" = "sonnet"\n"o3" = "gpt-4o"\n',
        "models: 'o3' = 'gpt-4o' names no model of the Claude CLI",
    ),
    "a name without quotes": (b'[models]\ngpt-4.1 = "sonnet"\n', "models.gpt-4"),
    "no name": (b'[models]\n" " = "sonnet"\n', "models: ' ' is not the name of a model"),
    "two signals with a known row": (
        b'[[origins]]\nname = "codex"\nheader = "x"\nbody = "y"\n',
        "origins.0",
    ),
}


@pytest.mark.parametrize(("content", "problem"), NOT_TOML.values(), ids=NOT_TOML.keys())
def test_a_bad_file_is_named(toml: Path, content: bytes, problem: str) -> None:
    toml.write_bytes(content)
    with pytest.raises(ValueError, match="sessionbridge_config") as caught:
        loaded(sessionbridge_config=str(toml))
    assert problem in str(caught.value) and str(toml) in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sessionbridge_timeout", 0),
        ("sessionbridge_first_token_timeout", -1),
        ("sessionbridge_retries", -1),
        ("sessionbridge_tool_wait", 0),
        ("sessionbridge_unknown_model", "guess"),
        ("sessionbridge_unkeyed", "sometimes"),
        ("sessionbridge_claude_env", ["=value"]),
        ("sessionbridge_config", "/no/such/file.toml"),
        ("sessionbridge_config", "~nobody-of-that-name/file.toml"),
        ("sessionbridge_home", "~nobody-of-that-name/home"),
        ("sessionbridge_claude", "~nobody-of-that-name/claude"),
    ],
)
def test_a_bad_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        loaded(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("live", -1, "sessionbridge_live=-1 is too small."),
        ("concurrency", 0, "sessionbridge_concurrency=0 is too small."),
        ("keep_flows", -1, "sessionbridge_keep_flows=-1 is too small."),
        ("plan_share", 101, "sessionbridge_plan_share=101 is too large."),
        (
            "memory_lost",
            "never",
            "sessionbridge_memory_lost='never' is not one of fresh, error.",
        ),
        (
            "claude_env",
            ["=value"],
            "sessionbridge_claude_env: '' is not the name of a variable.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(option: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        loaded(**{f"sessionbridge_{option}": value})
    assert str(caught.value) == sentence


def test_nothing_that_an_option_holds_is_told_but_what_is_wrong() -> None:
    """mitmproxy logs an error with all that it was raised from."""
    with pytest.raises(ValueError) as caught:
        loaded(sessionbridge_claude_env=[f"ANTHROPIC_API_KEY={SECRET}", "=value"])
    assert SECRET not in "".join(traceback.format_exception(caught.value))


WHOLE = b"""
[models]
"gpt-*" = "sonnet"
[[endpoints]]
host = "llm.example.com"
path = "/v1/chat/completions"
api = "chat"
[[origins]]
name = "my-agent"
system = '(?m)^Conversation: (?P<id>[a-z]+)$'
history = "client"
"""
PIECES = st.sampled_from([b"[", b"]", b'"', b"=", b"\n", b"{}", b"1", b"true", b"(", b"\xff", b"*"])


# Python says of a pattern with two brackets that it may mean something else one day.
@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(begin=177, length=0, pieces=[b"["])
@given(
    begin=st.integers(0, len(WHOLE)),
    length=st.integers(0, 30),
    pieces=st.lists(PIECES | st.binary(max_size=4), max_size=4),
)
def test_a_spoiled_file_is_read_or_refused_in_one_sentence(
    toml: Path, begin: int, length: int, pieces: list[bytes]
) -> None:
    toml.write_bytes(WHOLE[:begin] + b"".join(pieces) + WHOLE[begin + length :])
    try:
        loaded(sessionbridge_config=str(toml))
    except ValueError as error:
        assert type(error) is ValueError
        assert str(error).startswith(f"sessionbridge_config='{toml}'")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        loaded(sessionbridge_config=str(tmp_path))


def test_the_address_by_which_other_nodes_reach_this_one() -> None:
    store = "postgresql://db.lan/bridge"
    assert loaded().node == ""
    for address in ("http://10.0.0.11:8080", "http://node-1.lan:80", "http://[fd00::1]:8080"):
        assert loaded(sessionbridge_node=f"{address}/", sessionbridge_store=store).node == address
    with pytest.raises(ValueError, match="sessionbridge_node is for nodes that share a database"):
        loaded(sessionbridge_node="http://10.0.0.11:8080")


@pytest.mark.parametrize(
    "address",
    ["10.0.0.11:8080", "https://a.lan", "http://", "http://a:b", "http://a:0", "http://a/b"]
    + ["http://a?b", "http://user:secret@a"],
)
def test_what_is_no_such_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"node is not an address such as http://10") as refused:
        loaded(sessionbridge_node=address, sessionbridge_store="postgresql://db.lan/bridge")
    assert "secret" not in str(refused.value)


def test_a_database_that_nodes_share(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://bridge:secret@db.lan/bridge"
    assert loaded().store == ""
    assert loaded({"SESSIONBRIDGE_STORE": url}).store == url
    assert loaded({"SESSIONBRIDGE_STORE": "x"}, sessionbridge_store=url).store == url
    with pytest.raises(ValueError, match="begins with postgresql://") as refused:
        loaded(sessionbridge_store="mysql://bridge:secret@db.lan/bridge")
    assert "secret" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"needs psycopg: install mitmproxy-sessionbridge\[postg"):
        loaded(sessionbridge_store=url)
