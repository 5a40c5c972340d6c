"""The CLI's list of models, whatever a version of it may tell."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.claude.catalog import Model, catalog

MEASURED = [
    {
        "value": "default",
        "resolvedModel": "claude-opus-5-5",
        "displayName": "Default (recommended)",
        "description": "Use the default model (currently Opus 5.5)",
        "supportsEffort": True,
    },
    {
        "value": "sonnet",
        "resolvedModel": "claude-sonnet-5-5",
        "displayName": "Sonnet",
        "description": "Sonnet 5.5",
    },
]


def test_what_the_cli_tells() -> None:
    assert catalog(MEASURED) == (
        Model("default", "Default (recommended)", "claude-opus-5-5"),
        Model("sonnet", "Sonnet", "claude-sonnet-5-5"),
    )


@pytest.mark.parametrize("told", [None, [], {}, "sonnet", 3, [None, "x", {}, {"value": 1}]])
def test_what_cannot_be_read_names_no_model(told: Any) -> None:
    assert catalog(told) == ()


def test_a_model_without_a_name_has_its_ids() -> None:
    told = [
        {"value": "opus"},
        {"value": "haiku", "displayName": ""},
        {"value": "x", "displayName": 1},
    ]
    assert catalog(told) == tuple(Model(name, name, name) for name in ("opus", "haiku", "x"))


def test_no_id_is_there_twice() -> None:
    told = [*MEASURED, {"value": "sonnet", "displayName": "Another"}, {"value": ""}]
    assert [model.name for model in catalog(told)] == ["Default (recommended)", "Sonnet"]
