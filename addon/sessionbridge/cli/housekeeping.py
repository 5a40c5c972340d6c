"""Forgetting conversations: their place in the map, and the transcripts the bridge made for them.

Safe while a proxy runs: a conversation that is forgotten begins anew with its next turn. A file is
deleted only where all of it is certain: it lies where the CLI keeps the transcript of a session
that the map or the ledger names, and that session ran in a working directory of this home.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sessionbridge.claude.profile import config_dir, transcripts_folder
from sessionbridge.claude.transcript.files import delete
from sessionbridge.claude.work_dirs import before, is_work_dir, root, work_dir
from sessionbridge.cli.transcripts import Folders
from sessionbridge.model import SessionKey
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.store.locks import batches
from sessionbridge.sessions.store.places import Place
from sessionbridge.sessions.store.shared_files import SharedFiles
from sessionbridge.sessions.store.store import Holdings, SessionStore, SessionSummary


@dataclass(frozen=True, slots=True)
class House:
    """What there is to be kept in order: the store, where that is, the home of this machine, and
    the folder of the working directories."""

    home: Path
    place: Place
    store: SessionStore
    root: Path


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A key that was forgotten. `failed` are the transcripts that could not be deleted, `shared`
    those that nodes had kept in their database, by name."""

    held: Holdings
    transcripts: tuple[Path, ...]
    failed: tuple[Path, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def deleted(self) -> int:
        """How many transcripts, wherever they were."""
        return len({path.stem for path in self.transcripts} | set(self.shared))


def transcripts(house: House, held: Holdings) -> dict[str, Path]:
    """The files there are of the key's sessions, by session."""
    found = [path for path in _places(house, held) if path.is_file()]
    return {path.stem: path for path in reversed(found)}  # those in use come first, and so count


def _places(house: House, held: Holdings) -> list[Path]:
    """Where the transcripts of the key's sessions may be. That is in the map row, so of a key
    without one nothing is known."""
    if house.place.is_shared:
        found = _own_folders(house, held)
    else:
        found = _folders(house.home, held.row.metadata) if held.row else []
    names = [f"{name}.jsonl" for name in held.files if _plain(name)]
    return [folder / name for name in names for folder in found]


def _folders(home: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """Those of the transcripts of a map row, where its working directory and Claude's folder are
    certain. Another may have been chosen since then, where they have been brought."""
    config, cwd = (Path(str(metadata.get(name, ""))) for name in ("config_dir", "cwd"))
    if not config.is_absolute() or not is_work_dir(home, cwd):
        return []
    return [transcripts_folder(config, one / cwd.name) for one in _roots(home, root(home))]


def _own_folders(house: House, held: Holdings) -> list[Path]:
    """Those of this node. What the map row says may be so on another."""
    metadata = held.row.metadata if held.row else {}
    configs = (Path(str(metadata.get("config_dir", ""))), config_dir(os.environ).absolute())
    return [
        transcripts_folder(config, _cwd(one, held))
        for config in dict.fromkeys(configs)
        if config.is_absolute()
        for one in _roots(house.home, house.root)
    ]


def _cwd(root: Path, held: Holdings) -> Path:
    return work_dir(root, "session", held.key.provider)


def _roots(home: Path, now: Path) -> Iterable[Path]:
    return dict.fromkeys((now, before(home)))


def folders(own: Folders, sessions: Iterable[SessionSummary]) -> list[Path]:
    """Where transcripts of this home may lie: where those of these sessions do, and last in its
    `own` folders, where they are now."""
    known = {folder for session in sessions for folder in _folders(own.home, session.metadata)}
    now = own.all()
    return [*sorted(known.difference(now)), *now]


def brought_in(house: House, held: Holdings) -> dict[str, Path]:
    """As `transcripts`, with what other nodes have added to them. Waits for turns under way in one
    that is to be written."""
    if house.place.is_shared:
        config, cwd = config_dir(os.environ).absolute(), _cwd(house.root, held)
        asyncio.run(_bring_in(house, held, SharedFiles(transcripts_folder(config, cwd))))
    return transcripts(house, held)


async def _bring_in(house: House, held: Holdings, files: SharedFiles) -> None:
    read, locks = house.store.engine.read, house.place.locks()
    missing = [one for one in held.files if not read(partial(files.are_here, name=one))]
    for some in batches(missing):
        async with locks.hold_all([key_lock(held.key), *some]):
            for name in some:
                read(partial(files.bring_in, name=name))


def forget(house: House, key: SessionKey, unused_for: float | None = None) -> Forgotten | None:
    """None where there was nothing to forget, or it has been used meanwhile.

    Waits for turns under way: their commit would bring back what is forgotten. The map comes first:
    should this be interrupted, a file is left over, and not a conversation that has lost its
    memory."""
    found = asyncio.run(_deleted_alone(house, key, unused_for))
    if found is None:
        return None
    held, shared = found
    gone: list[Path] = []
    failed: list[Path] = []
    for path in _places(house, held):  # what is beside a transcript may outlive it
        there = path.is_file()
        if not _deleted(path):
            failed.append(path)
        elif there:
            gone.append(path)
    return Forgotten(held, tuple(gone), tuple(failed), shared)


async def _deleted_alone(
    house: House, key: SessionKey, unused_for: float | None
) -> tuple[Holdings, tuple[str, ...]] | None:
    """And which of its files nodes had kept."""
    store, locks = house.store, house.place.locks()
    *first, last = batches(store.usable(key))
    for some in first:
        async with locks.hold_all(some):
            if not store.forget_points(key, some, unused_for):
                return None
    async with locks.hold_all([key_lock(key), *last]):
        known = store.holdings(key)
        shared = _shared(store, known)
        held = store.delete(key, unused_for)
        if held is None and house.place.is_shared and unused_for is None:
            # Forgotten on another node, it still has files on this one.
            held = known
            for name in shared:
                store.forget_files(name)
        return (held, shared) if held else None


def _shared(store: SessionStore, held: Holdings) -> tuple[str, ...]:
    return tuple(name for name in held.files if store.has_files(name))


def prune(
    house: House, keys: list[SessionKey], unused_for: float, *, dry_run: bool
) -> Iterator[Forgotten | None]:
    """One key after another, so that stopping in between leaves no key half forgotten."""
    for key in keys:
        yield would_forget(house, key) if dry_run else forget(house, key, unused_for)


def would_forget(house: House, key: SessionKey) -> Forgotten:
    held = house.store.holdings(key)
    found = tuple(transcripts(house, held).values())
    return Forgotten(held, found, shared=_shared(house.store, held))


def _plain(internal_id: str) -> bool:
    """Whether it is one name and not a path to somewhere else."""
    return internal_id == Path(internal_id).name


def _deleted(path: Path) -> bool:
    try:
        delete(path)
    except OSError:
        return False
    return True
