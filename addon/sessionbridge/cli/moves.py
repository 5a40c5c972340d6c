"""What moves with the rows of a database: transcripts, where they are, and what nodes have in
common. From a home to the nodes, and from the nodes to a home.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sessionbridge.claude import work_dirs
from sessionbridge.claude.profile import bring_in_transcripts
from sessionbridge.claude.transcript.files import delete
from sessionbridge.cli import housekeeping
from sessionbridge.cli.tables import tracked
from sessionbridge.cli.transcripts import Folders
from sessionbridge.disk import write_whole
from sessionbridge.names import is_conversation
from sessionbridge.sessions.store import copying, queries
from sessionbridge.sessions.store.copying import Places
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.shared_files import SharedFiles, kept_names
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.stored import seals

_CREATED = "moved-conversations"
"""Of the conversations that clients have created, among what nodes have in common: the names of
those that have moved there. Of one without turns nothing else is left where it is deleted."""


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
    """From the home with these folders, and the `store`."""

    def __init__(self, own: Folders, store: SessionStore) -> None:
        self._own = own
        self._store = store

    def prepare(self, source: Database, target: SessionStore) -> Places:
        common = {}
        home = self._own.home
        if (folder := work_dirs.root(home)) != work_dirs.before(home):
            common[work_dirs.NAME] = str(folder).encode()
        key = home / seals.NAME
        if key.exists():
            common[seals.NAME] = key.read_bytes()
        for name, value in common.items():
            target.engine.write(_setting(name, value))
        return {}

    def transcripts(self, source: Database, target: SessionStore) -> Moved:
        # Of two with one name that of the last folder counts, where the CLI works now.
        folders = housekeeping.folders(self._own, self._store.sessions())
        places = {name: files for files in map(SharedFiles, folders) for name in files.names()}
        found = [(files, name) for name, files in sorted(places.items())]
        for files, name in tracked("Copying transcripts", found, len(found)):
            target.engine.write(_keeping(files, name))
        for name in set(target.engine.read(kept_names)) - places.keys():
            if not copying.is_known(source, name):  # forgotten since an earlier run
                target.engine.write(_forgetting(SharedFiles(folders[-1]), name))
        created = [name for name in places if is_conversation(name)]
        target.engine.write(_setting(_CREATED, json.dumps(created).encode()))
        sample = copying.sample(found)
        different = [name for files, name in sample if not target.engine.read(_asking(files, name))]
        return Moved(len(found), len(sample), tuple(different))

    def finish(self, target: SessionStore) -> None:
        """Nothing is noted beside the transcripts of nodes."""


class ToHome:
    """To the home with these folders."""

    def __init__(self, own: Folders) -> None:
        self._own = own

    def prepare(self, source: Database, target: SessionStore) -> Places:
        self._own.providers(source, kept_names(source))  # or nothing is changed
        home = self._own.home
        earlier = work_dirs.root(home), work_dirs.before(home)
        if folder := queries.common(source, work_dirs.NAME):
            work_dirs.take_over(home, Path(folder.decode()))
        if key := queries.common(source, seals.NAME):
            write_whole(home / seals.NAME, key)
        # What no database knows has its place there, too: a conversation without turns yet.
        for root in earlier:
            for provider, config in self._own.config_dirs.items():
                bring_in_transcripts(config, root, work_dirs.root(home), provider)
        return self._own.places

    def transcripts(self, source: Database, target: SessionStore) -> Moved:
        names = kept_names(source)
        providers = self._own.providers(source, names)
        files = {one: SharedFiles(self._own.of(one)) for one in self._own.config_dirs}
        for name in tracked("Copying transcripts", names, len(names)):
            files[providers[name]].bring_in(source, name)
        # What the nodes have never had is not theirs to have forgotten.
        created = json.loads(queries.common(source, _CREATED) or b"[]")
        for provider, there in files.items():
            for name in copying.forgotten(source, set(there.names()).difference(names), created):
                delete(self._own.of(provider) / f"{name}.jsonl")
        sample = copying.sample(names)
        different = [name for name in sample if not files[providers[name]].are_whole(source, name)]
        return Moved(len(names), len(sample), tuple(different))

    def finish(self, target: SessionStore) -> None:
        self._own.note(target.noted())


def _setting(name: str, value: bytes) -> Callable[[Database], None]:
    return lambda db: copying.set_common(db, name, value)


def _keeping(files: SharedFiles, name: str) -> Callable[[Database], None]:
    return lambda db: files.keep(db, name)


def _forgetting(files: SharedFiles, name: str) -> Callable[[Database], None]:
    return lambda db: files.forget(db, name)


def _asking(files: SharedFiles, name: str) -> Callable[[Database], bool]:
    return lambda db: files.are_whole(db, name)
