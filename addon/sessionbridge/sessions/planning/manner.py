"""How a request is asked, beside what was said: by this a side call is told from the conversation
under whose id it comes.

Programs ask for titles, tags and suggestions under the id of a chat, before its first message or
between two, with the history or without. Such a call has another system prompt, other tools or
another model, or its one message is a task that a program wrote.

A program may also change its prompt from turn to turn: it writes the time into it, or what it found
on the disk. Such a prompt is for the most part the one it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from sessionbridge.model import Tool
from sessionbridge.names import is_model
from sessionbridge.sessions.planning.lineage import Link

_TASKS = re.compile(
    r"^### Task:\n"  # Open WebUI: title, tags, follow-ups, queries (seen with 0.12.4)
    r"|^Analyze this conversation and provide:\n"  # LibreChat: title (source)
    r"|^(Please )?(provide|generate) a concise, 5-word-or-less title",  # LibreChat, older (source)
    re.I,
)

_PLACES = 32
"""Of a sketch. Place and mark are those of one word in 8,192: too little to tell which it was."""
_SKETCHES = 1000
_WORDS = 20_000
"""Of a prompt, from its beginning. A thousand take a millisecond."""

_TASK = "task"
"""In the place of the settings of a task, which nothing goes on from."""


@dataclass(frozen=True, slots=True)
class Manner:
    """`settings` is a hash of system prompt and tools, `model` the name the client wrote, or a hash
    of what can be none, `sketch` tells prompts and tools that are nearly the same (see `is_akin`).
    All are kept in the ledger."""

    settings: str
    model: str
    sketch: str = ""

    @property
    def is_task(self) -> bool:
        return self.settings == _TASK


def manner(system: str, tools: Sequence[Tool], model: str, links: Sequence[Link]) -> Manner:
    """The order of the tools and white space at the ends of the prompt do not matter."""
    if not is_model(model):
        model = f"sha256:{hashlib.sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()}"
    if len(links) == 1 and any(
        _TASKS.match(str(block["text"]).lstrip())
        for block in links[0].message.blocks
        if block["type"] == "text"
    ):
        return Manner(_TASK, model)
    offered = sorted(
        json.dumps([tool.name, tool.description, tool.schema], sort_keys=True, default=dict)
        for tool in tools
    )
    digest = hashlib.blake2b(digest_size=16)
    for part in (system.strip(), *offered):
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return Manner(digest.hexdigest(), model, _sketch(digest.hexdigest(), system, tools))


def is_akin(one: str, other: str) -> bool:
    """Whether two sketches are of prompts of whose words, those of either, both have half, and of
    tools of whose names both have half."""
    return bool(one and other) and all(map(_overlap, one.split("/"), other.split("/")))


def _overlap(one: str, other: str) -> bool:
    """In how many places the same mark is, of those where one or the other has any."""
    pairs = [pair for pair in zip(one.split(" "), other.split(" "), strict=True) if any(pair)]
    return 2 * sum(ours == theirs for ours, theirs in pairs) >= len(pairs)


_sketches: OrderedDict[str, str] = OrderedDict()


def _sketch(settings: str, system: str, tools: Iterable[Tool]) -> str:
    """Once for each prompt: most stay as they are, and some have a thousand words."""
    if (sketch := _sketches.get(settings)) is None:
        words, names = system.split(None, _WORDS)[:_WORDS], [tool.name for tool in tools]
        _sketches[settings] = sketch = "/".join(" ".join(_marks(each)) for each in (words, names))
        if len(_sketches) > _SKETCHES:
            _sketches.popitem(last=False)
    return sketch


def _marks(words: Iterable[str]) -> list[str]:
    """Of the words in each place the smallest one's mark: two lists of words have as many in common
    as the words themselves (one permutation hashing, Li, Owen and Zhang 2012)."""
    smallest: dict[int, int] = {}
    for word in set(words):
        rest, place = divmod(crc32(word.encode("utf-8", "surrogatepass")), _PLACES)
        smallest[place] = min(rest, smallest.get(place, rest))
    return [f"{smallest[n] & 0xFF:02x}" if n in smallest else "" for n in range(_PLACES)]
