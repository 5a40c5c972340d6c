"""The transcripts of a Claude profile's sessions: what the bridge reads of them and writes to them,
off the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.claude.transcript import files, imports, instructions, responses
from sessionbridge.claude.transcript.notes import Note, Notes
from sessionbridge.disk import on_thread
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import Instructions, KeptResponse, Message

_PATIENCE = 2.0
"""Seconds until the CLI has written what it has said; it takes a few milliseconds (measured with
2.1.332)."""


class Transcripts:
    def __init__(self, profile: ClaudeProfile) -> None:
        self._profile = profile
        self._notes = Notes()

    async def version(self, session_id: str) -> files.Version | None:
        """Tells whether a transcript is the same and as long as before; None where there is none.
        Raises OSError."""
        path = self._profile.transcript(session_id)
        return await on_thread(lambda: files.version(path))

    async def written(self, session_id: str, entry: str | None) -> None:
        """Waits for this entry of a process that runs, but not for ever."""
        if entry is None:
            return
        path = self._profile.transcript(session_id)
        read: files.Version | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                # No event tells what another process has written. Only what has grown is read
                # again: it may hold megabytes.
                while (there := await self.version(session_id)) == read or not await on_thread(
                    lambda: files.has_entry(path, entry)
                ):
                    read = there
                    await asyncio.sleep(0.005)

    async def check_kept(self, session_id: str, entry: str, after: str | None) -> None:
        """Raises `StoreUnavailable` where what was said since the entry `after` is not all in the
        file: it would be gone with its process."""
        path = self._profile.transcript(session_id)
        with _file_problems(path):
            if await on_thread(lambda: files.holds(path, entry, after)):
                return
        raise _not_kept(path, "does not hold all of it")

    async def lead_to(self, session_id: str, entry: str) -> None:
        """Has a CLI find this entry of the session, however others have ended there."""
        path = self._profile.transcript(session_id)
        with suppress(OSError):  # of a file that cannot be written the CLI says more
            await on_thread(lambda: files.lead_to(path, entry))

    async def write(
        self, session_id: str, model: str, messages: Sequence[Message], *, noted: bool
    ) -> imports.Written | None:
        """A transcript of what of these messages one can hold, the first of them; None for none.
        Where it is `noted`, the CLI's notes of today are part of it. `model` is the one of the
        session, by its name in the API."""
        profile = self._profile

        def work() -> imports.Written | None:
            notes: tuple[Note, ...] = ()
            if noted:
                notes = self._notes.today(profile.transcripts, model)
            count = imports.writable(messages, notes)
            file = self._file(session_id, model)
            return imports.write(file, messages[:count], notes) if count else None

        return await on_thread(work)

    async def complete(
        self, session_id: str, model: str, said: Sequence[tuple[str, Message]], base: str | None
    ) -> None:
        """Adds what a transcript lacks of these entries, which follow the entry `base`. Raises
        `StoreUnavailable`."""
        file = self._file(session_id, model)
        with _file_problems(file.path):
            await on_thread(lambda: imports.complete(file, said, base))

    async def said(self, session_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        """What was said between two entries, the latter included. Raises `SessionLost` where it is
        no longer known."""
        path = self._profile.transcript(session_id)
        return await on_thread(lambda: files.said(path, upto, after))

    async def instructions(self, session_id: str, entry: str) -> Instructions:
        """Those that were part of the conversation at this entry. Raises OSError."""
        path = self._profile.transcript(session_id)
        return await on_thread(lambda: instructions.kept(path, entry))

    async def keep_instructions(self, session_id: str, entry: str, told: Instructions) -> None:
        """For whoever goes on from there. Raises OSError."""
        path = self._profile.transcript(session_id)
        await on_thread(lambda: instructions.keep(path, entry, told))

    async def response(self, session_id: str, id_: str) -> KeptResponse | None:
        """The one with this id; None where it is not kept. Raises OSError."""
        path = self._profile.transcript(session_id)
        return await on_thread(lambda: responses.kept(path, id_))

    async def keep_response(self, session_id: str, response: KeptResponse) -> None:
        """For whoever asks for it by its id. Raises OSError."""
        path = self._profile.transcript(session_id)
        await on_thread(lambda: responses.keep(path, response))

    async def has_responses(self, session_id: str) -> bool:
        """Whether any is kept. Raises OSError."""
        path = self._profile.transcript(session_id)
        return await on_thread(lambda: responses.are_kept(path))

    async def forget_response(self, session_id: str, id_: str) -> None:
        """Raises OSError."""
        path = self._profile.transcript(session_id)
        await on_thread(lambda: responses.forget(path, id_))

    async def delete(self, session_id: str) -> None:
        """One that is not there is none to delete. Raises OSError."""
        await on_thread(lambda: files.delete(self._profile.transcript(session_id)))

    def _file(self, session_id: str, model: str) -> imports.TranscriptFile:
        profile = self._profile
        return imports.TranscriptFile(
            profile.transcript(session_id), profile.work_dir("session"), model
        )


@contextmanager
def _file_problems(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _not_kept(path, f"cannot be used ({error.strerror})") from error


def _not_kept(path: Path, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"This turn could not be kept, because Claude's file {path} {why}; see whether the disk is "
        "full and its folder can be written."
    )
