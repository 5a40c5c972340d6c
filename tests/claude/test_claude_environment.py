from __future__ import annotations

import pytest

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.claude.cli.environment import (
    ALLOWED,
    child_environment,
    is_allowed,
    parse_extra,
)


def child(
    inherited: dict[str, str],
    extra: dict[str, str] | None = None,
    chosen: dict[str, str] | None = None,
) -> dict[str, str]:
    return child_environment(inherited, chosen or {}, extra or {}, secret="s3cret", retries=4)


@pytest.mark.parametrize(
    "name",
    [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_CUSTOM_HEADERS_X",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "NODE_OPTIONS",
        "NODE_EXTRA_CA_CERTS",
        "LD_PRELOAD",
        "LCX",
        "MY_PASSWORD",
        "",
    ],
)
def test_what_decides_where_and_as_whom_it_calls_is_blanked(name: str) -> None:
    assert not is_allowed(name)
    assert child({name: "value"})[name] == ""


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "CLAUDE_CONFIG_DIR", "TMPDIR", "LC_ALL", "Path", "BUN_JSC_useJIT"]
)
def test_what_it_needs_to_run_and_to_log_in_is_kept(name: str) -> None:
    assert child({name: "value"})[name] == "value"


def test_nothing_allowed_could_hold_a_credential_or_a_route() -> None:
    words = ("KEY", "TOKEN", "SECRET", "PASS", "PROXY", "URL", "ANTHROPIC", "BEDROCK", "OPTIONS")
    assert [name for name in ALLOWED if any(word in name for word in words)] == []


def test_its_requests_carry_the_secret_and_the_users_own_headers() -> None:
    headers = "ANTHROPIC_CUSTOM_HEADERS"
    assert child({headers: "x-theirs: 1"})[headers] == f"{CHILD_HEADER}: s3cret"
    mixed = child({}, {headers: "x-theirs: 1"})[headers]
    assert mixed.split("\n") == ["x-theirs: 1", f"{CHILD_HEADER}: s3cret"]


def test_what_is_chosen_for_a_process_wins_over_ours_but_not_over_the_users() -> None:
    chosen = {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9", "ENABLE_TOOL_SEARCH": "true"}
    made = child({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "1"}, {"ENABLE_TOOL_SEARCH": "x"}, chosen)
    assert made["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "9"
    assert made["ENABLE_TOOL_SEARCH"] == "x"
    assert "CLAUDE_CODE_MAX_OUTPUT_TOKENS" not in child({})


def test_the_users_own_settings_win() -> None:
    extra = {"CLAUDE_CODE_MAX_RETRIES": "9", "HTTPS_PROXY": "http://corporate:3128"}
    made = child({"HTTPS_PROXY": "http://127.0.0.1:8080"}, extra)
    assert made["HTTPS_PROXY"] == "http://corporate:3128"
    assert made["CLAUDE_CODE_MAX_RETRIES"] == "9"
    assert child({})["CLAUDE_CODE_MAX_RETRIES"] == "4"


def test_extra_entries_set_a_value_or_pass_one_on() -> None:
    entries = ["A=1", "B=", "C=x=y", "GIVEN", "ABSENT", "D= spaced "]
    assert parse_extra(entries, {"GIVEN": "g"}) == {
        "A": "1",
        "B": "",
        "C": "x=y",
        "GIVEN": "g",
        "D": " spaced ",
    }


@pytest.mark.parametrize("entry", ["", "=value", " A=1", "A =1", " "])
def test_an_extra_entry_without_a_clean_name_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a variable"):
        parse_extra([entry], {})
