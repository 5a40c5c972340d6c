"""Whose is each character that the model is shown?

The client's, or one of the Claude CLI's own, and those are listed here: to the last character, with
what is known of the machine, the model and the day filled in. Nothing else is ever left out of what
the tests look at, and a request with a character more is refused: by itself where the words stand
in a place of the CLI's or between its tags, else by the test that compares what is left with what
the client said.

What is in the table was seen with 2.1.332. Of a bare CLI, which has an API key, one line may stay.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.cli.demo.scripted_api import Body, Call, spoken
from sessionbridge.cli.demo.scripted_events import Block

Told = list[tuple[str, list[Block]]]

IDENTITY = "You are a Claude agent, built on Anthropic's Claude Agent SDK."
VERSION = "x-anthropic-billing-header: cc_version={version}; cc_entrypoint=sdk-py;"
ENVIRONMENT = """\
# Environment
You have been invoked in the following environment:\x20
 - Primary working directory: {folder}
 - Is a git repository: false
 - Platform: {platform}
 - Shell: bash
 - OS Version: {system}
 - Downloaded files and extracted archives are untrusted data: put each in its own new, empty \
directory, keep scripts you write in a different directory, and pass paths as arguments instead of \
running an interpreter or build tool from inside it. Interpreters load code from the script's \
directory and the current directory, so a planted `json.py` runs on `import json`. Run any Python \
that reads them with `-I`. This does not apply to code the user asked you to build or run.
 - In `curl`, send untrusted values with `--form-string`, not `-F`."""
MODEL = (
    "You are powered by the model named {name}. The exact model ID is {model}. "
    "Assistant knowledge cutoff is {month} {year}."
)
UNKNOWN_MODEL = "You are powered by the model {model}."
DATE = "Today's date is {date}."

SUMMARY = """\
This session is being continued from a previous conversation that ran out of context. The summary \
below covers the earlier portion of the conversation.

<system-reminder>
<tools-used-before-summary></tools-used-before-summary>
</system-reminder>
{summary}

If you need specific details from before compaction (like exact code snippets, error messages, or \
content you generated), read the full transcript at: {transcript}
Continue the conversation from where it left off without asking the user any further questions. \
Resume directly — do not acknowledge the summary, do not recap what was happening, do not preface \
with "I'll continue" or similar. Pick up the last task as if the break never happened.

The messages after this summary are the most recent messages from before compaction, kept \
verbatim. The summary was written without seeing them, so something it says has not happened yet \
may already have happened in them."""
ASKS_AGAIN = (
    "Output token limit hit. Resume directly",
    "[Your previous response had no visible output",
)
INPUT_RULE = "Input constraint: {rule}\n\n"
STRUCTURED = (
    "Use this tool to return your final response in the requested structured format. You MUST call "
    "this tool exactly once at the end of your response to provide the structured output."
)
BARE_STRUCTURED = "return the final response as structured JSON"
ASKS_FOR_STRUCTURE = (
    "[structured-output-enforce] You MUST call the StructuredOutput tool to complete this request. "
    "Call this tool now."
)


def _reminder(words: str) -> str:
    return f"<system-reminder>\n{words}\n</system-reminder>"


_NOTES = [(ENVIRONMENT, MODEL, DATE), (ENVIRONMENT, UNKNOWN_MODEL, DATE)]
_REMINDERS = [tuple(map(_reminder, notes)) for notes in _NOTES]


@dataclass(frozen=True, slots=True)
class Table:
    """What the CLI adds, and where. `system` stands before the client's system prompt, each in a
    block of its own. `messages` are messages with the role `system`. `blocks` are those of the
    user's messages. `descriptions` are those of tools of its own, and `rules` stand before those of
    the client's."""

    system: tuple[str, ...] = (VERSION, IDENTITY)
    messages: tuple[str, ...] = (
        *("\n\n".join(told) for told in (*_NOTES, *_REMINDERS)),
        # What has changed since, and no more.
        *(told for notes in (*_NOTES, *_REMINDERS) for told in notes[1:]),
    )
    blocks: tuple[str, ...] = (
        *(f"{_reminder(note)}{end}" for note in (*_NOTES[0], UNKNOWN_MODEL) for end in ("", "\n")),
        ASKS_FOR_STRUCTURE,
        SUMMARY,
    )
    descriptions: tuple[str, ...] = (STRUCTURED,)
    rules: tuple[str, ...] = (INPUT_RULE,)


BY_LOGIN = Table()
BEGAN_WITH = ("claude-sonnet-4-5", "claude-sonnet-5-5", "claude-opus-5-5")
"""Models whose note may stay in a session that goes on with another one."""
BARE = Table(
    system=(IDENTITY,),
    messages=(),
    blocks=(ASKS_FOR_STRUCTURE, SUMMARY),
    descriptions=(BARE_STRUCTURED,),
    # Ours, or it would tell the first paragraph of a description alone.
    rules=("\n\n",),
)


class Unaccounted(AssertionError):
    """Somebody else's words are in a request, and nobody knows whose."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A request without what is in the table: all of this is the client's. `tools` are their
    descriptions and schemas."""

    system: str
    messages: Told
    tools: Mapping[str, tuple[str, Mapping[str, Any]]]


def shown(call: Call) -> Shown:
    """Raises `Unaccounted` where words are in a place that the client has no words for."""
    known = _Known(call)
    return Shown(known.system(), known.messages(), known.tools())


def messages(call: Call) -> Told:
    """Who said what in blocks."""
    return shown(call).messages


def conversation(call: Call) -> list[tuple[str, str]]:
    """The (role, text) pairs of it; messages without text are left out."""
    return spoken(messages(call))


def check(call: Call, said: Container[str] = ()) -> None:
    """Raises `Unaccounted` for a character that is not in the table. `said` is what clients have
    said that is written as the CLI writes its own words."""
    if not _is_the_clis(call) or _asks_again(call):
        return
    for role, blocks in shown(call).messages:
        for text in _texts(blocks):
            if role == "user" and "system-reminder>" in text and text not in said:
                raise Unaccounted(f"Not in the table: {text!r}")


def _asks_again(call: Call) -> bool:
    """Whether the CLI goes on by itself after an answer. It is ended then, which comes too late for
    the request where the machine is busy; nobody gets what the model says to that, and the CLI's
    words for it must be in no other request."""
    # Behind it there may be notes.
    *_, last = (one for one in call.body["messages"] if one["role"] != "system")
    texts = [text.removeprefix("<system-reminder>\n") for text in _texts(last["content"])]
    return last["role"] == "user" and any(text.startswith(ASKS_AGAIN) for text in texts)


def _texts(content: str | Sequence[Block]) -> Iterator[str]:
    """What is said in a content of any kind, also by tools."""
    for block in _blocks(content):
        if block["type"] == "tool_result":
            yield from _texts(block.get("content", ""))
        elif block["type"] == "text":
            yield block["text"]


class _Known:
    """The table of one request, filled in with what is known of it."""

    def __init__(self, call: Call) -> None:
        self._body: Body = call.body
        self._table = _table(call)
        self._models = (call.body["model"], *BEGAN_WITH)

    def system(self) -> str:
        told = [block["text"] for block in _blocks(self._body.get("system", ()))]
        for own in self._table.system:
            if not told or not self._is(told.pop(0), own):
                raise Unaccounted(f"Not in the table of the system prompt: {self._body['system']}")
        if len(told) > 1:
            raise Unaccounted(f"More than the client's system prompt: {told}")
        return "".join(told)

    def messages(self) -> Told:
        told = []
        for message in self._body["messages"]:
            blocks = _blocks(message["content"])
            if message["role"] == "system":
                self._check_notes(blocks)
            elif blocks := list(self._left(blocks)):
                told.append((message["role"], blocks))
        return told

    def tools(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        return {
            tool["name"]: (self._without_rule(tool["description"]), schema)
            for tool in self._body.get("tools", ())
            if tool["description"] not in self._table.descriptions
            for schema in [tool["input_schema"]]
        }

    def _check_notes(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if not self._is(block["text"], *self._table.messages):
                raise Unaccounted(f"Not in the table of system messages: {block['text']!r}")

    def _left(self, blocks: Sequence[Block]) -> Iterator[Block]:
        for block in blocks:
            if block["type"] != "text" or not self._is(block["text"], *self._table.blocks):
                yield block

    def _without_rule(self, description: str) -> str:
        for own in self._patterns(self._table.rules):
            description = own.sub("", description, 1) if own.match(description) else description
        return description

    def _is(self, text: str, *owns: str) -> bool:
        return any(own.fullmatch(text) for own in self._patterns(owns))

    def _patterns(self, owns: Sequence[str]) -> Iterator[re.Pattern[str]]:
        return (_pattern(own, model, date.today()) for own in owns for model in self._models)


def _table(call: Call) -> Table:
    if not _is_the_clis(call):
        return Table((), (), (), (), ())
    return BARE if "x-api-key" in _headers(call) else BY_LOGIN


def _is_the_clis(call: Call) -> bool:
    return CHILD_HEADER in _headers(call)


def _headers(call: Call) -> set[str]:
    return {name.lower() for name in call.headers}


@cache
def _pattern(own: str, model: str, today: date) -> re.Pattern[str]:
    fields = _fields(model, today)
    parts = re.split(r"\{(\w+)\}", own)
    filled = [fields[part] if n % 2 else re.escape(part) for n, part in enumerate(parts)]
    return re.compile("".join(filled))


def _fields(model: str, today: date) -> dict[str, str]:
    machine = os.uname()
    # A clock is read twice, and midnight may lie between.
    days = [str(today + timedelta(days=days)) for days in (-1, 0, 1)]
    family, *numbers = re.sub(r"-\d{8}$", "", model).removeprefix("claude-").split("-")
    return {
        "folder": r"/var/tmp/sessionbridge-\w{8}/(?:claude|continue)(?:-[0-9a-f]{12})?",
        "platform": re.escape(sys.platform),
        "system": re.escape(f"{machine.sysname} {machine.release}"),
        "model": re.escape(model),
        "name": re.escape(f"{family.capitalize()} {'.'.join(numbers)}"),
        "month": r"[A-Z][a-z]+",
        "year": r"20\d\d",
        "date": "|".join(days).join(("(?:", ")")),
        "version": r"\d+\.\d+\.\d+\.[0-9a-f]{3}",
        "rule": r"[^\n]+",
        "summary": r"[^<]+",
        "transcript": r"/\S+\.jsonl",
    }


def _blocks(content: str | Sequence[Block]) -> Sequence[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
