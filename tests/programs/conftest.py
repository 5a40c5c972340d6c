"""The scripted API and a place for a program, where nothing is in reach but the two and a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.place import NOTE, Place, without_network
from tests.support.scripted_api import ScriptedServer


@pytest.fixture
def offline() -> Iterator[None]:
    with without_network():
        yield


@pytest.fixture
def api(offline: None) -> Iterator[ScriptedServer]:
    """One for each test: that of all others is not in reach."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def place(offline: None, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home", tmp_path / "work")
    made.work.mkdir()
    (made.work / "note.txt").write_text(NOTE, "utf-8")
    (made.home / "tmp").mkdir(parents=True)
    try:
        yield made
    finally:
        made.clear()
