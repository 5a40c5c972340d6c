"""The file of a backup: a compressed tar archive of the session database and the transcripts, with
what is kept beside them. The turns beside them are those of the database.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sessionbridge.disk import private, private_folder
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.sqlite import copies

_TRANSCRIPT = re.compile(
    r"transcripts/([\w-]+\.(?:jsonl|instructions|responses|conversation))", re.ASCII
)

_LAST = "last-backup"


class NotABackup(ValueError):
    """Says what is wrong with the file."""


def transcripts(folders: Iterable[Path]) -> list[Path]:
    """What a backup holds of these folders. Raises OSError."""
    found = (path for folder in folders for path in _in(folder) if path.is_file())
    return sorted(path for path in found if _TRANSCRIPT.fullmatch(f"transcripts/{path.name}"))


def _in(folder: Path) -> list[Path]:
    """Not by `glob`, to which a folder that cannot be read is an empty one."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def write(
    file: Path,
    home: Path,
    folders: Iterable[Path],
    tracked: Callable[[list[Path]], Iterable[Path]],
) -> int:
    """The database first: each turn that it holds is in a transcript by then. `file` is there only
    once it is whole. Returns how many files of transcripts it holds. Raises OSError and
    `StoreUnavailable`."""
    part = file.with_name(f".{file.name}.part")
    try:
        with (
            TemporaryDirectory(prefix="backup-", dir=home) as work,
            open(part, "wb", opener=private) as out,
            tarfile.open(fileobj=out, mode="w:gz") as archive,
        ):
            copied = Path(work, DATABASE_NAME)
            copied.touch(0o600)
            copies.copy(home / DATABASE_NAME, copied)
            archive.add(copied, DATABASE_NAME)
            paths = transcripts(folders)
            for path in tracked(paths):
                _add(archive, path)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    with open(home / _LAST, "w", encoding="utf-8", opener=private) as last:
        last.write(str(file.absolute()))
    return len(paths)


def _add(archive: tarfile.TarFile, path: Path) -> None:
    """Read as a whole: one that grows meanwhile would not be as long as was said."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # of a conversation that was forgotten just now
        return
    member = tarfile.TarInfo(f"transcripts/{path.name}")
    member.size, member.mode, member.mtime = len(content), 0o600, int(path.stat().st_mtime)
    archive.addfile(member, io.BytesIO(content))


def last(home: Path) -> tuple[float, str] | None:
    """When the last backup of this home was made (epoch seconds), and where to."""
    file = home / _LAST
    try:
        return file.stat().st_mtime, file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


@contextmanager
def opened(file: Path) -> Iterator[tarfile.TarFile]:
    """Raises `NotABackup` and OSError."""
    try:
        with tarfile.open(file, "r:gz") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise NotABackup(
            f"{file} is no backup of sessionbridge, or not a whole one ({error})."
        ) from error


def members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The transcripts in it. Raises `NotABackup` where there is anything else than in a backup."""
    database, *rest = archive.getmembers() or [tarfile.TarInfo()]
    known = database.name == DATABASE_NAME and database.isreg()
    if not known or not all(one.isreg() and _TRANSCRIPT.fullmatch(one.name) for one in rest):
        raise NotABackup("The file is an archive, but no backup of sessionbridge.")
    return rest


def name_of(transcript: tarfile.TarInfo) -> str:
    """That of its session, or of a conversation that a client has created."""
    return Path(transcript.name).stem


def extract_database(archive: tarfile.TarFile, to: Path) -> None:
    with open(to, "wb", opener=private) as out:
        shutil.copyfileobj(_content(archive, archive.getmember(DATABASE_NAME)), out)


def extract_transcript(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One that is there and has gone on since then holds it all: it stays."""
    private_folder(folder)
    path = folder / member.name.rpartition("/")[2]
    content = _content(archive, member).read()
    if path.is_file() and path.read_bytes().startswith(content):
        return
    part = path.with_suffix(".part")
    with open(part, "wb", opener=private) as out:
        out.write(content)
    # With its own time the CLI might delete it as too old.
    part.replace(path)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    content = archive.extractfile(member)
    assert isinstance(content, io.BufferedReader)
    return content
