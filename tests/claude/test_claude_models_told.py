"""The models that the real CLI tells."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.claude_cli import children, isolated, staged


async def test_the_models_are_told_without_asking_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        dispatcher = stage.dispatcher()
        first, second = await asyncio.gather(dispatcher.models(), dispatcher.models())
        assert {"default", "opus", "sonnet", "haiku"} <= {model.id for model in first}
        assert second == first == await dispatcher.models()
        assert (stage.api.calls, stage.api.others, children()) == ([], [], [])
        assert not list((tmp_path / "config").rglob("*.jsonl"))
        await dispatcher.close()
