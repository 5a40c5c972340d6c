"""Forgetting conversations: their place in the map, and the transcripts the bridge made for them.

Safe while a proxy runs: a conversation that is forgotten begins anew with its next turn. A file is
deleted only where all of it is certain: it lies where the CLI keeps the transcript of a session
that the map or the ledger names, and that session ran in a working directory of this home.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sessionbridge.claude.profile import transcripts_folder
from sessionbridge.claude.transcript.files import delete
from sessionbridge.claude.work_dirs import before, is_work_dir, root
from sessionbridge.model import SessionKey
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import Holdings, SessionStore, SessionSummary


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A key that was forgotten. `failed` are the transcripts that could not be deleted."""

    held: Holdings
    transcripts: tuple[Path, ...]
    failed: tuple[Path, ...] = ()


def transcripts(home: Path, held: Holdings) -> dict[str, Path]:
    """The files there are of the key's sessions, by session."""
    found = [path for path in _places(home, held) if path.is_file()]
    return {path.stem: path for path in reversed(found)}  # those in use come first, and so count


def _places(home: Path, held: Holdings) -> list[Path]:
    """Where the transcripts of the key's sessions may be. That is in the map row, so of a key
    without one nothing is known."""
    found = _folders(home, held.row.metadata) if held.row else []
    names = [f"{name}.jsonl" for name in held.files if _plain(name)]
    return [folder / name for name in names for folder in found]


def _folders(home: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """Those of the transcripts of a map row, where its working directory and Claude's folder are
    certain. Another may have been chosen since then, where they have been brought."""
    config, cwd = (Path(str(metadata.get(name, ""))) for name in ("config_dir", "cwd"))
    if not config.is_absolute() or not is_work_dir(home, cwd):
        return []
    roots = dict.fromkeys((root(home), before(home)))
    return [transcripts_folder(config, one / cwd.name) for one in roots]


def folders(home: Path, sessions: Iterable[SessionSummary]) -> set[Path]:
    """Where the transcripts of these lie."""
    return {folder for session in sessions for folder in _folders(home, session.metadata)}


def forget(
    store: SessionStore, home: Path, key: SessionKey, unused_for: float | None = None
) -> Forgotten | None:
    """None where there was nothing to forget, or it has been used meanwhile.

    Waits for turns under way: their commit would bring back what is forgotten. The map comes first:
    should this be interrupted, a file is left over, and not a conversation that has lost its
    memory."""
    held = asyncio.run(_deleted_alone(store, home, key, unused_for))
    if held is None:
        return None
    gone: list[Path] = []
    failed: list[Path] = []
    for path in _places(home, held):  # what is beside a transcript may outlive it
        there = path.is_file()
        if not _deleted(path):
            failed.append(path)
        elif there:
            gone.append(path)
    return Forgotten(held, tuple(gone), tuple(failed))


async def _deleted_alone(
    store: SessionStore, home: Path, key: SessionKey, unused_for: float | None
) -> Holdings | None:
    names = [key_lock(key), *store.holdings(key).sessions]
    async with Home(home).locks().hold_all(names):
        return store.delete(key, unused_for)


def prune(
    store: SessionStore, home: Path, keys: list[SessionKey], unused_for: float, *, dry_run: bool
) -> Iterator[Forgotten | None]:
    """One key after another, so that stopping in between leaves no key half forgotten."""
    for key in keys:
        if dry_run:
            held = store.holdings(key)
            yield Forgotten(held, tuple(transcripts(home, held).values()))
        else:
            yield forget(store, home, key, unused_for)


def _plain(internal_id: str) -> bool:
    """Whether it is one name and not a path to somewhere else."""
    return internal_id == Path(internal_id).name


def _deleted(path: Path) -> bool:
    try:
        delete(path)
    except OSError:
        return False
    return True
