"""Where a benchmark runs: a folder of its own and a scripted API that answers at once.

The API is a process of its own, so that it shares no interpreter lock with whoever measures. It
tells how many messages it was shown: a quick answer to half a conversation must not count.

Nothing of the machine's Claude login, keys or proxy variables gets in: every program started here
has an environment that is an allow-list, and a home below the folder.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sessionbridge.cli.demo.scripted_api import Body, Reply, ScriptedApi, Usage, conversation
from tests.support.proxy import DOOR, ROOT, Proxy, environment, running_proxy

SPARES = "4"
"""The default, wherever there is memory."""


def answer_to(messages: int) -> str:
    """What the model says when it is shown so many messages."""
    return f"I see {messages} messages."


@dataclass(frozen=True, slots=True)
class Place:
    """`troubles` are what went wrong beside what is measured."""

    folder: Path
    api: str
    troubles: list[str] = field(default_factory=list)

    def home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        return home

    @contextmanager
    def proxy(
        self, name: str, *arguments: str, door: Path = DOOR, **options: str | Sequence[str]
    ) -> Iterator[Proxy]:
        """A real mitmdump with the addon, of another version where there is another `door`;
        `options` are `sessionbridge_…` ones, `arguments` mitmproxy's own. What it said last is
        added to whatever fails meanwhile, for the folder will be gone."""
        measured = False
        chosen = {"spare": SPARES, **options}
        home = self.home(name)
        try:
            with running_proxy(
                home, self.api, *arguments, options=chosen, door=door, recorded=False
            ) as proxy:
                try:
                    yield proxy
                    measured = True
                except Exception as error:
                    error.add_note(f"mitmdump's last words:\n{proxy.log[-1500:]}")
                    raise
        except subprocess.TimeoutExpired as error:
            if not measured:
                raise
            # What was measured until then still holds.
            self.troubles.append(f"mitmdump had to be killed, {error.timeout} s after it was ended")


@contextmanager
def a_place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        api = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.place"],
            cwd=ROOT,
            env=environment(folder) | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with api:  # which closes its standard input, and so ends it
            assert api.stdout is not None
            yield Place(folder, api.stdout.readline().strip())


async def _script(body: Body) -> Reply:
    spoken = conversation(body)
    usage = Usage(3, 7, 40, 300 if len(spoken) > 1 else 0)
    return Reply((answer_to(len(spoken)),), usage)


async def _serve() -> None:
    """Until standard input is closed, which also happens when whoever started it is killed."""
    api = ScriptedApi(_script)
    print(api.url, flush=True)
    await asyncio.to_thread(os.read, 0, 1)
    await api.close()


if __name__ == "__main__":
    asyncio.run(_serve())
