"""Which model runs for the name a client writes."""

from __future__ import annotations

import pytest

from sessionbridge.claude.models import (
    DEFAULT,
    Choice,
    Unknown,
    choice,
    is_claude,
    literal,
    mapped,
)
from sessionbridge.errors import ModelNotFound


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5@20250929",
        "claude-3-5-haiku",
        "claude-2.1",
        "claude-instant-1.2",
        "Claude-Opus-4-5",
        "claude-sonnet-4-5[1m]",
        "sonnet",
        "opus",
        "haiku",
        "fable",
        "best",
        "fable[1m]",
        "opusplan",
        "sonnet[1m]",
        "default",
    ],
)
def test_a_claude_name_is_run_as_it_is(model: str) -> None:
    assert is_claude(model)
    assert choice(model) == Choice(model)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4o-claude-x",
        "o3",
        "",
        "claude",
        "claude-",
        "my-claude-opus",
        "claude-opus --dangerously-skip-permissions",
        "--model",
        "claude-opus\n",
        "claude-" + "x" * 200,
        "claude-\N{LATIN SMALL LETTER U WITH DIAERESIS}",
        "claude-opus;ls",
        "sonnet[2m]",
    ],
)
def test_any_other_name_runs_the_default_model(model: str) -> None:
    assert not is_claude(model)
    assert choice(model) == Choice(DEFAULT, ignored=True)


TABLE = (
    ("gpt-*-mini", "haiku"),
    ("gpt-*", "sonnet"),
    ("O[34]", "opus"),
    ("claude-opus-?", "claude-sonnet-5"),
    ("opus[1m]", "opus"),
)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("gpt-4o-mini", "haiku"),
        ("gpt-4o", "sonnet"),
        ("GPT-4o", "sonnet"),
        ("o3", "opus"),
        ("o4", "opus"),
        ("o5", None),
        ("my-gpt-4o", None),
        ("claude-opus-5", "claude-sonnet-5"),
        ("claude-opus-5-5", None),
        ("opus[1m]", "opus"),
        ("sonnet", None),
        ("", None),
    ],
)
def test_the_first_row_that_fits_names_the_model(model: str, target: str | None) -> None:
    assert mapped(model, TABLE) == target


@pytest.mark.parametrize(
    ("model", "unknown", "expected"),
    [
        ("gpt-4o", "refuse", Choice("sonnet")),
        ("claude-opus-5", "default", Choice("claude-sonnet-5")),
        ("haiku", "refuse", Choice("haiku")),
        ("claude-opus-5-5", "default", Choice("claude-opus-5-5")),
        ("openrouter/auto", "default", Choice(DEFAULT, ignored=True)),
        ("models/gemini-2.5-flash", "default", Choice(DEFAULT, ignored=True)),
        ("llama3.2:latest", "default", Choice(DEFAULT, ignored=True)),
        ("llama", "default", Choice(DEFAULT, ignored=True)),
        ("llama", "pass", Choice("llama")),
        ("us.anthropic.claude-opus-5-v1:0", "pass", Choice("us.anthropic.claude-opus-5-v1:0")),
        ("arn:aws:bedrock:x:1:y/z", "pass", Choice("arn:aws:bedrock:x:1:y/z")),
    ],
)
def test_what_is_run(model: str, unknown: Unknown, expected: Choice) -> None:
    assert choice(model, TABLE, unknown) == expected


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-3.5-haiku", "claude-3-5-haiku"),
        ("claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("claude-4-opus-20250514", "claude-opus-4-20250514"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5[1m]", "claude-sonnet-4-5[1m]"),
        ("anthropic/claude-opus-4.5:beta", "claude-opus-4-5"),
        ("openrouter/anthropic/claude-haiku-4.5", "claude-haiku-4-5"),
        ("anthropic/sonnet", "sonnet"),
        ("anthropic/claude-sonnet-4.5:thinking", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("global.anthropic.claude-opus-5-v1:0", "claude-opus-5"),
        ("anthropic.claude-opus-5-v1", "claude-opus-5"),
        ("bedrock/eu.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5-20251101"),
        ("vertex_ai/claude-haiku-4-5@20251001", "claude-haiku-4-5-20251001"),
    ],
)
def test_a_name_of_a_gateway_or_a_cloud_runs_the_model_that_is_meant(
    model: str, meant: str
) -> None:
    assert choice(model) == choice(model, unknown="refuse") == Choice(meant)
    assert choice(model, unknown="pass") == Choice(model)


def test_a_name_nobody_knows_can_be_refused() -> None:
    with pytest.raises(ModelNotFound, match="model: llama ") as caught:
        choice("llama", TABLE, "refuse")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "model", ["--dangerously-skip-permissions", "-p", "a b", "x\n", "x\0y", "m" * 300, "gpt;ls", ""]
)
def test_what_no_model_is_called_is_never_passed_on(model: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        choice(model, TABLE, "pass")
    assert "\n" not in caught.value.message and len(caught.value.message) < 300


def test_names_that_stand_for_themselves() -> None:
    assert literal([*TABLE, ("gpt-4o", "sonnet"), ("my.model", "opus")]) == ["gpt-4o", "my.model"]
