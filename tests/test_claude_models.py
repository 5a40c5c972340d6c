from __future__ import annotations

import pytest

from sessionbridge.claude.models import DEFAULT, chosen, is_claude


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5@20250929",
        "claude-3.5-haiku",
        "Claude-Opus-4-5",
        "claude-sonnet-4-5[1m]",
        "sonnet",
        "opus",
        "haiku",
        "opusplan",
        "sonnet[1m]",
        "default",
    ],
)
def test_a_claude_name_is_run_as_it_is(model: str) -> None:
    assert is_claude(model)
    assert chosen(model) == model


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
        "claude-opus;ls",
        "sonnet[2m]",
    ],
)
def test_any_other_name_runs_the_default_model(model: str) -> None:
    assert not is_claude(model)
    assert chosen(model) == DEFAULT
