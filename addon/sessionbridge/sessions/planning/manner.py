"""How a request is asked, beside what was said: by this a side call is told from the conversation
under whose id it comes.

Programs ask for titles, tags and suggestions under the id of a chat, before its first message or
between two, with the history or without. Such a call has another system prompt, other tools or
another model, or its one message is a task that a program wrote.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sessionbridge.model import Tool
from sessionbridge.names import is_model
from sessionbridge.sessions.planning.lineage import Link

_TASKS = re.compile(
    r"^### Task:\n"  # Open WebUI: title, tags, follow-ups, queries (seen with 0.12.4)
    r"|^Analyze this conversation and provide:\n"  # LibreChat: title (source)
    r"|^(Please )?(provide|generate) a concise, 5-word-or-less title",  # LibreChat, older (source)
    re.I,
)

_TASK = "task"
"""In the place of the settings of a task, which nothing goes on from."""


@dataclass(frozen=True, slots=True)
class Manner:
    """`settings` is a hash of system prompt and tools, `model` the name the client wrote, or a hash
    of what can be none: both are kept in the ledger."""

    settings: str
    model: str

    @property
    def is_task(self) -> bool:
        return self.settings == _TASK


def manner(system: str, tools: Iterable[Tool], model: str, links: Sequence[Link]) -> Manner:
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
    return Manner(digest.hexdigest(), model)
