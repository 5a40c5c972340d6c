"""Servers of other projects that tests start: as an ordinary user also where the tests are root's,
in a folder of their own, and ended with the tests however these end."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import geteuid
from pathlib import Path

import pytest

from tests.support.proxy import wait_for


def needed(name: str, package: str, *places: Path) -> Path:
    """The path of a program, in one of these folders or on PATH; skips the test without it."""
    found = [place / name for place in places if (place / name).exists()]
    if not found and (on_path := shutil.which(name)):
        found = [Path(on_path).resolve()]
    if not found:
        pytest.skip(f"{name} is not here; on Debian: apt-get install {package}")
    return found[0]


def _user() -> pwd.struct_passwd | None:
    """Whom root runs them as; None where the tests are an ordinary user's already."""
    if geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


@contextmanager
def folder_of_its_own(name: str) -> Iterator[Path]:
    """Outside of pytest's, which lets no other user in. Tests that are killed leave it behind."""
    with tempfile.TemporaryDirectory(prefix=f"sessionbridge-{name}-") as made:
        given_away(Path(made))
        yield Path(made)


def given_away(path: Path) -> None:
    if user := _user():
        shutil.chown(path, user.pw_uid, user.pw_gid)


def as_ordinary_user(command: Sequence[str | Path]) -> list[str]:
    """The command line that runs it so; PostgreSQL and PgBouncer refuse root."""
    words = [str(word) for word in command]
    if user := _user():
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, *words]
    return words


DAEMONS: set[int] = set()
"""The pids of those that serve all tests of this process."""


def started(
    command: Sequence[str | Path],
    folder: Path,
    log: Path,
    *,
    ready: Callable[[], bool],
    ended_by: str,
) -> subprocess.Popen[bytes]:
    """Runs it in the foreground with no environment of this machine's, and returns when it is
    ready. The kernel sends the signal `ended_by` when the thread that calls this is gone, also
    after a `kill -9` (prctl(2))."""
    words = as_ordinary_user(["setpriv", f"--pdeathsig={ended_by}", *command])
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    DAEMONS.add(process.pid)

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        return ready()

    wait_for(is_up, f"{Path(command[0]).name} to be ready")
    return process
