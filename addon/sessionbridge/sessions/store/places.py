"""Where the sessions are kept: in a file of the home, or in a database of several nodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.sqlite.database import check
from sessionbridge.sessions.store.sqlite.locks import FileLocks
from sessionbridge.sessions.store.store import SessionStore

DATABASE_NAME = "session_map.db"

SCHEMES = ("postgresql://", "postgres://")
"""With which the address of a database on PostgreSQL begins."""

VARIABLE = "SESSIONBRIDGE_STORE"
"""In the environment: the address of a database on PostgreSQL."""


class Channel(Protocol):
    """Between the nodes of one database."""

    def heard(self) -> AsyncGenerator[str | None]:
        """What any of them says, this one included. None where it begins to be heard, and wherever
        something may have been missed. Ends where nothing can be."""

    async def say(self, texts: Sequence[str]) -> None:
        """To all, in this order; each has less than 8,000 bytes. Raises `StoreUnavailable`."""

    def clock(self) -> float:
        """Epoch seconds, the same for all nodes. To be asked for once the store has been."""


class Place(Protocol):
    @property
    def name(self) -> str:
        """For people; without a password."""

    @property
    def is_shared(self) -> bool:
        """Whether other nodes have it, too, which do not see this one's files."""

    def is_made(self) -> bool:
        """Whether there is a database of ours yet. Waits for none; raises `StoreUnavailable`."""

    def store(
        self,
        transcripts: Callable[[], Path] | None,
        patience: float,
        others: Callable[[], Sequence[Path]] = list,
    ) -> SessionStore:
        """Raises `StoreUnavailable` where it cannot be used for so long, and OSError of the folder
        of the transcripts. Made where there is none, from what is noted there and in the `others`,
        those of other providers."""

    def check(self, patience: float) -> None:
        """Raises `StoreUnavailable` where no turn could be kept now, as far as that can be told
        without writing; about as soon as so many seconds are over."""

    def locks(self) -> Locks: ...

    def channel(self) -> Channel | None:
        """None where there are no other nodes."""

    def common(self, name: str, value: str) -> str:
        """What all nodes have under this name: this value, where there was none yet. Raises
        `StoreUnavailable`."""

    def in_common(self, name: str) -> str | None:
        """The same; None where there is none yet."""

    def close(self) -> None: ...


class Home:
    """A SQLite file, and file locks beside it."""

    is_shared = False

    def __init__(self, home: Path) -> None:
        self.database = home / DATABASE_NAME
        self.locks_folder = home / "locks"

    @property
    def name(self) -> str:
        return str(self.database)

    def is_made(self) -> bool:
        return self.database.exists()

    def store(
        self,
        transcripts: Callable[[], Path] | None,
        patience: float,
        others: Callable[[], Sequence[Path]] = list,
    ) -> SessionStore:
        folder = transcripts() if transcripts else None
        return SessionStore.open(
            self.database, transcripts=folder, others=others(), patience=patience
        )

    def check(self, patience: float) -> None:
        """One that is not there yet is made with the first turn."""
        check(self.database, patience)

    def locks(self) -> FileLocks:
        return FileLocks(self.locks_folder)

    def channel(self) -> None:
        return None

    def common(self, name: str, value: str) -> str:
        return value

    def in_common(self, name: str) -> None:
        return None

    def close(self) -> None:
        """Whoever has opened the store closes it."""


def unusable(url: str) -> str | None:
    """Why no sessions can be kept at this address, in a sentence; None where they can."""
    if not url.startswith(SCHEMES):
        return "sessionbridge_store is not the address of a database: it begins with postgresql://."
    missing = [name for name in ("psycopg", "psycopg_pool", "tzlocal") if not find_spec(name)]
    if missing:
        return (
            f"sessionbridge_store needs {', '.join(missing)}: install "
            "mitmproxy-sessionbridge[postgres]."
        )
    return None


def place_of(home: Path, url: str) -> Place:
    """`url` is that of a database on PostgreSQL; without one it is the home. Raises
    `StoreUnavailable` for one that is unusable."""
    if not url:
        return Home(home)
    if why := unusable(url):
        raise StoreUnavailable(why)
    # Imported late: only an extra brings what it needs.
    from sessionbridge.sessions.store.postgres.place import Postgres

    return Postgres(url)
