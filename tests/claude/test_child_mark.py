"""The secret of a home, by which the CLIs of all its proxies are known."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from sessionbridge.claude.cli.child_mark import child_secret, is_child_secret
from sessionbridge.errors import ClaudeFailed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "above" / "home"


def test_it_is_for_the_owner_alone(home: Path) -> None:
    child_secret(home)
    (file,) = home.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home.parent)] == [0o700] * 2


def test_a_home_has_one_and_no_other_home_has_it(home: Path, tmp_path: Path) -> None:
    secret = child_secret(home)
    assert child_secret(home) == secret != child_secret(tmp_path / "other")
    assert is_child_secret(secret, home) and not is_child_secret(secret, tmp_path / "other")


def test_those_who_need_it_at_the_same_moment_get_the_same(home: Path) -> None:
    many = 16
    together = Barrier(many)

    def made(_: int) -> str:
        together.wait()
        return child_secret(home)

    with ThreadPoolExecutor(many) as threads:
        assert len(set(threads.map(made, range(many)))) == 1
    assert len(list(home.iterdir())) == 1


@pytest.mark.parametrize("shown", ["", "forged", "f\udcf6rged"])
def test_before_there_is_one_nothing_is_it(home: Path, shown: str) -> None:
    assert not is_child_secret(shown, home)
    assert not home.exists()
    child_secret(home)
    assert not is_child_secret(shown, home)


@pytest.mark.parametrize("content", ["", "short"])
def test_what_is_damaged_marks_nothing_and_is_named(home: Path, content: str) -> None:
    child_secret(home)
    (file,) = home.iterdir()
    file.write_text(content)
    assert not is_child_secret(content, home)
    with pytest.raises(ClaudeFailed, match=str(file)):
        child_secret(home)
