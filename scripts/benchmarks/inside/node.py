"""mitmdump's script for the figures of several nodes: as `door`, and its dispatcher also brings in
and writes transcripts, as a CLI would."""

from collections.abc import AsyncGenerator

from scripts.benchmarks.inside.ticking import TickingDispatcher
from scripts.benchmarks.transcripts import lines_of_turn
from sessionbridge.claude.job import Job
from sessionbridge.disk import private_folder
from sessionbridge.model import Delta, Dispatched
from sessionbridge.proxy import addon
from sessionbridge.turns import account


class WritingDispatcher(TickingDispatcher):
    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        if job.plan.base is not None:
            await self._bring_in(job.plan.base.session_id)
        private_folder(self._profile.transcripts)
        with self._profile.transcript(job.session_id).open("ab") as file:
            file.write(lines_of_turn(job.session_id, file.tell()))
        async for delta in super().run(job):
            yield delta


# In the place of the name that `account` has imported, so no attribute of its own.
account.ClaudeDispatcher = WritingDispatcher  # type: ignore[attr-defined]
addons = addon.addons
