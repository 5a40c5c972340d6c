"""The short form of `scripts/soak`."""

from __future__ import annotations

from pathlib import Path

from tests.support.soak import soak
from tests.support.soak_faults import disk_of_its_own


def test_nothing_is_lost_doubled_or_mixed_up(tmp_path: Path) -> None:
    with disk_of_its_own(tmp_path) as disk:
        result = soak(tmp_path, seconds=60, talks=20, at_once=3, turns=11, disk=disk)
    assert result.broken == {}
    assert result.turns > 10
    assert result.faults.total() > 10
