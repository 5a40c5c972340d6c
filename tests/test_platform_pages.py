"""What the pages of `addon/platforms` say is what the product reads; what they show is valid."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sessionbridge.config import ConfigFile
from sessionbridge.model import History, Origin
from sessionbridge.sessions.origins.table import Origins
from tests.support.bridge_fixtures import House, ask, body, house
from tests.support.documents import DOCS, PLATFORMS, blocks
from tests.support.proxy import environment, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer

__all__ = ["house"]

INDEX = PLATFORMS / "README.md"
TABLE = (DOCS / "platforms.md").read_text("utf-8")
PAGES = sorted(path for path in PLATFORMS.glob("*.md") if path != INDEX)
ORIGINS = Origins.default()
HISTORY: dict[str, History] = {
    "kept by the client": "client",
    "kept by the bridge": "server",
    "learned": "learn",
}
OPENCLAW = "You are a personal assistant running inside OpenClaw."
CONTEXT = ("user", "A note for this turn alone.")

_IDENTIFIED = re.compile(
    r"^Identified by: (?P<where>body |prompt line |option )?(?P<names>`[^`]+`(?:, `[^`]+`)*)"
    r"(?: like `(?P<example>[^`]+)`)?"
    r"(?: with `(?P<sign>[\w-]+): (?P<value>[^`]+)`)?"
    r" · platform `(?P<platform>[^`]+)` · history (?P<history>[a-z ]+)$",
    re.M,
)
_SECOND = re.compile(
    r"^Second message: `(?P<plan>\w+ \w+) · (?P<platform>[\w-]+) · …`(?: [^`]*)?$", re.M
)
_NO_ID = re.compile(r"^Not an id: (?P<names>`[^`]+`(?:,\s`[^`]+`)*)", re.M)
_LOCAL = re.compile(r"https?://(?:127\.0\.0\.1|localhost)[^\s\"'`,)]*")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


@dataclass(frozen=True, slots=True)
class Claim:
    """One `Identified by` line: where the id is, what else has to be there, and what is found."""

    where: str
    names: tuple[str, ...]
    example: str
    sign: Mapping[str, str]
    platform: str
    history: History

    def requests(self) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """A request for each name, with nothing else of the program's in it."""
        match self.where:
            case "body":
                return [(dict(self.sign), nested(name, self.example)) for name in self.names]
            case "prompt line":
                return [({}, {"system": f"{OPENCLAW}\n{line}\n"}) for line in self.names]
            case "option":
                return []
            case _:
                return [({**self.sign, name.lower(): self.example}, {}) for name in self.names]


def claims(page: Path) -> list[Claim]:
    text = page.read_text("utf-8")
    found = [
        Claim(
            (match["where"] or "header").strip(),
            spans(match["names"]),
            match["example"] or "the-id",
            {match["sign"]: match["value"]} if match["sign"] else {},
            match["platform"],
            HISTORY[match["history"]],
        )
        for match in _IDENTIFIED.finditer(text)
    ]
    assert len(found) == text.count("Identified by: "), "a line of another form"
    return found


def nested(path: str, value: str) -> dict[str, Any]:
    """A body with that field, which may be one of an object: `metadata.user_id`."""
    name, _, rest = path.partition(".")
    return {name: nested(rest, value) if rest else value}


def second_message(page: Path) -> re.Match[str]:
    (line,) = _SECOND.finditer(page.read_text("utf-8"))
    return line


def spans(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def test_the_index_names_every_page_and_no_other() -> None:
    rows = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)", INDEX.read_text("utf-8"), re.M)
    assert sorted(rows) == [page.name for page in PAGES]


def test_the_table_of_platforms_leads_to_the_pages() -> None:
    rows = "\n".join(re.findall(r"^\|.*$", TABLE, re.M))
    linked = set(re.findall(r"\]\(\.\./addon/platforms/([\w-]+\.md)\)", rows))
    assert linked >= {page.name for page in PAGES}
    assert "(../addon/platforms/README.md)" in TABLE.partition("| platform |")[0]


@each_page
def test_what_a_page_says_names_the_conversation_does(page: Path) -> None:
    assert claims(page)
    for claim in claims(page):
        for headers, fields in claim.requests():
            origin = ORIGINS.detect(headers, {"model": "sonnet", **fields})
            assert origin is not None, (claim, headers)
            assert (origin.platform, origin.history) == (claim.platform, claim.history)
            found = origin.external_id
            assert found in claim.example or "the-id" in found or "sessionId=" in str(fields)


@each_page
def test_without_it_nothing_names_a_conversation(page: Path) -> None:
    for claim in claims(page):
        headers = {"user-agent": "any/1.0", **claim.sign}
        body = {"model": "sonnet", "system": OPENCLAW if "prompt" in claim.where else ""}
        assert ORIGINS.detect(headers, body) is None


OPTIONS = [
    pytest.param(claim, id=page.stem)
    for page in PAGES
    for claim in claims(page)
    if claim.where == "option"
]
assert OPTIONS


@pytest.mark.parametrize("claim", OPTIONS)
async def test_what_an_option_names_goes_on(claim: Claim, house: House) -> None:
    """The proxy's option alone finds the conversation of a client that resends its history."""
    (option,) = claim.names
    name, _, value = option.removeprefix("sessionbridge_").partition("=")
    house.change(**{name: value})
    first = ("user", "My name is Ada.")

    answer = await ask(house.bridge, body([first]), None)
    resent = [first, ("assistant", answer.text), ("user", "What is my name?")]
    again = await ask(house.bridge, body(resent), None)

    origin, plan = again.exchange.outcome.origin, again.exchange.outcome.plan
    assert origin is not None and origin == answer.exchange.outcome.origin
    assert (origin.platform, origin.history) == (claim.platform, claim.history)
    assert plan is not None and plan.reason == "continued"


def no_ids(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    lists = [spans(match["names"]) for match in _NO_ID.finditer(text)]
    assert len(lists) == text.count("Not an id: "), "a line of another form"
    return list(itertools.chain(*lists))


NO_IDS = [pytest.param(page, name, id=name) for page in PAGES for name in no_ids(page)]
assert NO_IDS


@pytest.mark.parametrize(("page", "name"), NO_IDS)
def test_what_a_page_calls_no_id_is_none(page: Path, name: str) -> None:
    for claim in claims(page):
        headers = {**claim.sign, name.lower(): "an-id"}
        assert ORIGINS.detect(headers, {"model": "m"}) is None


@each_page
async def test_the_second_message_has_the_plan_a_page_shows(page: Path, house: House) -> None:
    """A client that keeps the history resends it; OpenClaw's last message is there once only."""
    second = second_message(page)
    claim = next(claim for claim in claims(page) if claim.platform == second["platform"])
    origin = Origin(claim.platform, "the-id", "conversation", claim.history)
    context = [CONTEXT] if claim.where == "prompt line" else []
    first = ("user", "My name is Ada.")

    answer = await ask(house.bridge, body([first, *context]), origin)
    resent = [] if claim.history == "server" else [first, ("assistant", answer.text)]
    await ask(house.bridge, body([*resent, ("user", "What is my name?"), *context]), origin)

    plan = house.dispatcher.jobs[-1].plan
    assert second["plan"] == f"{plan.name} {plan.reason}"


PARSERS: dict[str, Callable[[str], Any]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": YAML(typ="safe", pure=True).load,
    "python": ast.parse,
}


@each_page
def test_what_is_there_to_copy_parses(page: Path) -> None:
    for language, parse in PARSERS.items():
        for block in blocks(page, language):
            assert parse(block), block
    known = {*PARSERS, "sh", "ts"}
    assert set(re.findall(r"^```(\w+)$", page.read_text("utf-8"), re.M)) <= known


RULES = [
    pytest.param(block, id=page.stem)
    for page in PAGES
    for block in blocks(page, "toml")
    if "[[origins]]" in block
]
assert RULES


@pytest.mark.parametrize("block", RULES)
def test_rules_of_ones_own_are_valid_and_win(block: str) -> None:
    rules = ConfigFile.model_validate(tomllib.loads(block)).origins
    named = [(rule, name) for rule in rules for name in rule.header]
    assert named
    for rule, name in named:
        origin = Origins.default(rules).detect({name: "the-id"}, {})
        assert origin == Origin(rule.name or "", "the-id", "conversation", rule.history)


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda path: path.stem)
def test_addresses_are_those_of_the_table(page: Path) -> None:
    named = dict(re.findall(r"\*\*([MC])\*\* = `([^`]+)`", TABLE))
    allowed = {named["M"], f"{named['M']}/v1", named["C"]}
    paths = ("/chat/completions", "/messages")
    for address in _LOCAL.findall(page.read_text("utf-8")):
        for path in paths:
            address = address.removesuffix(path)
        assert address in allowed, address


@each_page
def test_a_page_has_all_its_parts(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.M)
    assert any(heading.startswith("Set") for heading in headings)
    for part in (
        "Whose conversation",
        "See that it works",
        "What to know",
        "When it passes through",
    ):
        assert part in headings, part


def test_goclaws_requests_are_answered_and_remembered(tmp_path: Path, api: ScriptedServer) -> None:
    """The two commands of its page as they are, at a free port."""
    commands = [
        block for block in blocks(PLATFORMS / "goclaw.md", "sh") if block.startswith("curl")
    ]
    assert len(commands) == 2
    mode = ("--mode", f"reverse:https://api.openai.com@{free_port()}")
    with running_proxy(tmp_path, api.url, *mode) as proxy:
        said = [
            subprocess.run(
                shlex.split(command.replace("\\\n", " ").replace(":8081", f":{proxy.ports[0]}")),
                env=environment(tmp_path),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout
            for command in commands
        ]
    assert "Nice to meet you, Ada!" in said[0]
    assert "Your name is Ada." in said[1]
    assert "x-sessionbridge-plan: resume" in said[1].lower()
    assert "x-sessionbridge-reason: appended" in said[1].lower()
