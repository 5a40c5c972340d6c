"""What moves with the rows of a database: transcripts, where they are, and what nodes have in
common. From a home to the nodes, and from the nodes to a home.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sessionbridge.claude import work_dirs
from sessionbridge.claude.profile import bring_in_transcripts
from sessionbridge.claude.transcript.files import delete
from sessionbridge.cli import housekeeping
from sessionbridge.cli.tables import tracked
from sessionbridge.cli.transcripts import transcripts_of
from sessionbridge.disk import write_whole
from sessionbridge.sessions.store import copying, queries
from sessionbridge.sessions.store.copying import Places
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.shared_files import SharedFiles, kept_names
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.turn_files import TurnFiles
from sessionbridge.stored import seals


@dataclass(frozen=True, slots=True)
class Moved:
    """How many transcripts, of how many it was looked whether they are the same, and those that are
    not."""

    count: int
    sample: int
    different: tuple[str, ...]


class Move(Protocol):
    """All raise OSError and `StoreUnavailable`. `source` is one moment of it."""

    def prepare(self, source: Database, target: SessionStore) -> Places:
        """What is in common; and what map rows are to say of where transcripts are."""

    def transcripts(self, source: Database, target: SessionStore) -> Moved: ...

    def finish(self, target: SessionStore) -> None:
        """Once all rows are there."""


class ToNodes:
    """From the `home` of the `store`."""

    def __init__(self, home: Path, store: SessionStore, config: Path | None) -> None:
        self._home = home
        self._store = store
        self._config = config

    def prepare(self, source: Database, target: SessionStore) -> Places:
        common = {}
        if (folder := work_dirs.root(self._home)) != work_dirs.before(self._home):
            common[work_dirs.NAME] = str(folder).encode()
        key = self._home / seals.NAME
        if key.exists():
            common[seals.NAME] = key.read_bytes()
        for name, value in common.items():
            target.engine.write(_setting(name, value))
        return {}

    def transcripts(self, source: Database, target: SessionStore) -> Moved:
        # Of two with one name that of the last folder counts, where the CLI works now.
        own = transcripts_of(self._home, self._config)[1]
        folders = [*(housekeeping.folders(self._home, self._store.sessions()) - {own}), own]
        places = {name: files for files in map(SharedFiles, folders) for name in files.names()}
        found = [(files, name) for name, files in sorted(places.items())]
        for files, name in tracked("Copying transcripts", found, len(found)):
            target.engine.write(_keeping(files, name))
        for name in set(target.engine.read(kept_names)) - places.keys():
            if not copying.is_known(source, name):  # forgotten since an earlier run
                target.engine.write(_forgetting(SharedFiles(own), name))
        sample = copying.sample(found)
        different = [name for files, name in sample if not target.engine.read(_asking(files, name))]
        return Moved(len(found), len(sample), tuple(different))

    def finish(self, target: SessionStore) -> None:
        """Nothing is noted beside the transcripts of nodes."""


class ToHome:
    def __init__(self, home: Path, config: Path | None) -> None:
        self._home = home
        self._config = config

    @property
    def _folder(self) -> Path:
        return transcripts_of(self._home, self._config)[1]

    def prepare(self, source: Database, target: SessionStore) -> Places:
        earlier = work_dirs.root(self._home), work_dirs.before(self._home)
        if folder := queries.common(source, work_dirs.NAME):
            work_dirs.take_over(self._home, Path(folder.decode()))
        if key := queries.common(source, seals.NAME):
            write_whole(self._home / seals.NAME, key)
        cwd, transcripts = transcripts_of(self._home, self._config)
        config = transcripts.parent.parent
        # What no database knows has its place there, too: a conversation without turns yet.
        for root in earlier:
            bring_in_transcripts(config, root, work_dirs.root(self._home))
        return {"cwd": str(cwd), "config_dir": str(config)}

    def transcripts(self, source: Database, target: SessionStore) -> Moved:
        files, names = SharedFiles(self._folder), kept_names(source)
        for name in tracked("Copying transcripts", names, len(names)):
            files.bring_in(source, name)
        # What the nodes have never had is not theirs to have forgotten.
        for name in copying.forgotten(source, set(files.names()).difference(names)):
            delete(self._folder / f"{name}.jsonl")
        sample = copying.sample(names)
        different = [name for name in sample if not files.are_whole(source, name)]
        return Moved(len(names), len(sample), tuple(different))

    def finish(self, target: SessionStore) -> None:
        TurnFiles(self._folder).replace(target.noted())


def _setting(name: str, value: bytes) -> Callable[[Database], None]:
    return lambda db: copying.set_common(db, name, value)


def _keeping(files: SharedFiles, name: str) -> Callable[[Database], None]:
    return lambda db: files.keep(db, name)


def _forgetting(files: SharedFiles, name: str) -> Callable[[Database], None]:
    return lambda db: files.forget(db, name)


def _asking(files: SharedFiles, name: str) -> Callable[[Database], bool]:
    return lambda db: files.are_whole(db, name)
