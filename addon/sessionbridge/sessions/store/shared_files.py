"""The transcripts, and the files beside them, as a database keeps them that several nodes share.

Each file is kept in compressed pieces, one for what came to it since the last. They are kept in the
transaction of the turn that wrote them, so that a turn is there exactly when its transcript is. A
node that finds its own file to be another, or to lack something, writes it anew from them. A turn
asks that more than once; what has not been changed meanwhile is read once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from sessionbridge.disk import private_folder, write_whole
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import Database

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIXES = (".jsonl", ".instructions", ".responses", ".conversation")
"""What there may be of one name: that of a session, or of a conversation a client has created."""

_ABSENT = (FileNotFoundError, NotADirectoryError)

_SETTLED = 2_000_000_000
"""Nanoseconds. A file that was written to so shortly before may be once more without another time:
no file system's clock is coarser (FAT)."""

_MOST_KNOWN = 1000


@dataclass(frozen=True, slots=True)
class _Head:
    """How long the file is that is kept (bytes), its digest, and of how many pieces it is."""

    length: int
    digest: bytes
    pieces: int


_NOTHING = _Head(0, sha256().digest(), 0)


@dataclass(frozen=True, slots=True)
class _State:
    """Of a file; another one when it was written to, replaced, or given an earlier time. Times in
    nanoseconds."""

    file: int
    size: int
    modified: int
    changed: int


class SharedFiles:
    """Those in the `folder` of the transcripts. All raise `StoreUnavailable` where they cannot be
    read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = lru_cache(_MOST_KNOWN)(self._digest_of)

    def keep(self, db: Database, name: str) -> None:
        """What has come to the files of this name; the last line where it is whole. What is kept of
        one that this node does not have stays."""
        heads = _heads(db, name)
        for file in _files(name):
            content = self._read(file)
            if content is None:
                continue
            head = heads.get(file, _NOTHING)
            digest = sha256(content[: head.length])
            if digest.digest() != head.digest:
                _forget(db, file)
                head, digest = _NOTHING, sha256()
            added = _whole_lines(content)[head.length :]
            if added:
                digest.update(added)
                _add(db, file, head, added, digest.digest())

    def are_here(self, db: Database, name: str) -> bool:
        """Whether this node's files have all that is kept of them, and others have not deleted
        them."""
        heads = _heads(db, name)
        whole = all(self._begins_with(head, file) for file, head in heads.items())
        return whole and not self._deleted(heads, name)

    def bring_in(self, db: Database, name: str) -> None:
        """Writes those that have not, deletes what others have. No process may work with them."""
        heads = _heads(db, name)
        with self._told("deleted"):
            for deleted in self._deleted(heads, name):
                deleted.unlink(missing_ok=True)
        for file, head in heads.items():
            if not self._begins_with(head, file):
                content = _content(db, file)
                if content is None or _digest(content) != head.digest:
                    raise StoreUnavailable(
                        f"{file} is damaged in the session database: its pieces do not make the "
                        "file that was kept. Restore the database from a backup."
                    )
                with self._told("written"):
                    private_folder(self._folder)
                    write_whole(self._folder / file, content)

    def _deleted(self, heads: Mapping[str, _Head], name: str) -> list[Path]:
        """What others have deleted. A conversation is kept as soon as it is created, a session with
        its first turn, and before that nobody asks for it."""
        if heads:
            return []
        return [path for file in _files(name) if (path := self._folder / file).exists()]

    def has(self, db: Database, name: str) -> bool:
        """Whether any file of this name is kept."""
        return bool(_heads(db, name))

    def names(self) -> list[str]:
        """Of what is in the folder."""
        with self._told("read"):
            try:
                found = list(self._folder.iterdir())  # to `glob`, who may not read it sees nothing
            except _ABSENT:
                return []
            return sorted(
                {path.stem for path in found if path.suffix in SUFFIXES and path.is_file()}
            )

    def are_whole(self, db: Database, name: str) -> bool:
        """Whether the pieces make the files that were kept, and this node's have all of them."""
        return all(
            head.digest == _digest(_content(db, file) or b"")
            and head.digest == self._digest_of(file, head.length)
            for file, head in _heads(db, name).items()
        )

    def forget(self, db: Database, name: str) -> None:
        for file in _files(name):
            _forget(db, file)

    def _begins_with(self, head: _Head, file: str) -> bool:
        """Whether this node's file is what is kept of it, with whatever was added since."""
        state = self._state(file)
        if state is None or state.size < head.length:
            return False
        settled = time.time_ns() - state.modified > _SETTLED
        digest = self._known if settled else self._digest_of
        return digest(file, head.length, state) == head.digest

    def _state(self, file: str) -> _State | None:
        """None where this node has no such file."""
        with self._told("read"):
            try:
                found = (self._folder / file).stat()
            except _ABSENT:
                return None
        return _State(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _digest_of(self, file: str, length: int, state: _State | None = None) -> bytes:
        """That of the file's beginning, in this state or a later one."""
        return _digest((self._read(file) or b"")[:length])

    def _read(self, file: str) -> bytes | None:
        """None where this node has no such file."""
        with self._told("read"):
            try:
                return (self._folder / file).read_bytes()
            except _ABSENT:
                return None

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"The transcripts in {self._folder} cannot be {done} ({error.strerror}); see "
                "whether the disk is full, and the folder can be read and written."
            ) from error


def kept_names(db: Database) -> list[str]:
    """Of the files that are kept; each is one and no path."""
    names = {row["name"].rpartition(".")[0] for row in db.stream("SELECT name FROM files")}
    return sorted(name for name in names if name == Path(name).name)


def _whole_lines(content: bytes) -> bytes:
    """Who writes it may be in the middle of a line."""
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except ValueError:
        return content[:end]
    return content  # all but its end


def _files(name: str) -> tuple[str, ...]:
    return tuple(f"{name}{suffix}" for suffix in SUFFIXES)


def _heads(db: Database, name: str) -> Mapping[str, _Head]:
    names = {f"file_{number}": file for number, file in enumerate(_files(name))}
    listed = ", ".join(f":{name}" for name in names)
    rows = db.query(
        f"SELECT name, length, digest, pieces FROM files WHERE name IN ({listed})", names
    )
    return {row["name"]: _Head(row["length"], row["digest"], row["pieces"]) for row in rows}


def _add(db: Database, file: str, head: _Head, added: bytes, digest: bytes) -> None:
    """`digest` is that of the whole file."""
    piece = {"name": file, "number": head.pieces, "data": zstd.compress(added)}
    db.execute("INSERT INTO pieces (name, number, data) VALUES (:name, :number, :data)", piece)
    sql = """
        INSERT INTO files (name, length, digest, pieces)
        VALUES (:name, :length, :digest, :pieces)
        ON CONFLICT (name) DO UPDATE SET
            length = excluded.length, digest = excluded.digest, pieces = excluded.pieces
    """
    length = head.length + len(added)
    whole = {"length": length, "digest": digest, "pieces": head.pieces + 1}
    db.execute(sql, {"name": file, **whole})


def _content(db: Database, file: str) -> bytes | None:
    """None where a piece is damaged."""
    sql = "SELECT data FROM pieces WHERE name = :name ORDER BY number"
    try:
        return b"".join(zstd.decompress(row["data"]) for row in db.query(sql, {"name": file}))
    except zstd.ZstdError:
        return None


def _forget(db: Database, file: str) -> None:
    db.execute("DELETE FROM pieces WHERE name = :name", {"name": file})
    db.execute("DELETE FROM files WHERE name = :name", {"name": file})


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()
