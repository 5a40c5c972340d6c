"""Reads from a request whose conversation it belongs to: headers and body in, an `Origin` out.

The rules are data (`origins.toml`, and rows of the user's own). They are tried by class, in the
order of `PRIORITIES`, and within a class in the order of the table; the first that finds an id
wins. Header names that many clients share are read only after the client was recognised, so equal
ids of two clients never meet. Ids are untrusted: they are trimmed, checked and bounded here, and
composed so that different parts never give the same whole.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any, NamedTuple

from sessionbridge.errors import BadRequest
from sessionbridge.model import Origin
from sessionbridge.sessions.origins.request import OriginRequest
from sessionbridge.sessions.origins.rule import PRIORITIES, Evidence, OriginRule

MAX_ID_CHARS = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode category Cc, all of it
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Origins:
    """A table of rules in order of precedence.

    Raises `ValueError`, naming the row, for two rows of one name and for a row without a signal.
    """

    def __init__(self, rules: Iterable[OriginRule]) -> None:
        table = list(rules)
        seen: set[str] = set()
        for rule in table:
            rule.check_complete()
            if rule.name in seen:
                raise ValueError(f"origin {rule.name!r} is there twice; rename or remove one")
            seen.add(rule.name)
        self._rules = tuple(sorted(table, key=lambda rule: PRIORITIES.index(rule.precedence)))
        self._index = _Index(rule for rule in self._rules if rule.enabled)

    @classmethod
    def default(cls, extra: Sequence[OriginRule] = ()) -> Origins:
        """The packaged table, changed by the user's rows.

        A row with a known name changes the fields it gives. Other rows are added before the
        packaged ones of their class: who writes a row knows this traffic better than the table.
        """
        known = {rule.name: rule for rule in _packaged()}
        added = []
        for row in extra:
            if row.name in known:
                known[row.name] = known[row.name].changed_by(row)
            else:
                added.append(row)
        return cls([*added, *known.values()])

    @property
    def rules(self) -> tuple[OriginRule, ...]:
        """All rows, those that are switched off too, in order of precedence."""
        return self._rules

    def detect(self, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> Origin | None:
        """The origin of a request with these headers (names in lower case) and this JSON body.

        Raises `BadRequest` where the id that counts holds control characters or broken text.
        """
        request = OriginRequest(headers, body)
        for rule in self._index.candidates(request):
            origin = origin_by(rule, request)
            if origin is not None:
                return origin
        return None

    @property
    def body_fields(self) -> Iterator[str]:
        """Names of fields of bodies in which conversations are named."""
        for rule in self._rules:
            if rule.enabled:
                yield from (path.rpartition(".")[2] for path in rule.body)

    def named_in_body(self, headers: Mapping[str, str]) -> bool:
        """Whether these are the headers of a client of which some rule has it that it names its
        conversations in its bodies, so that without one nothing can be told of it."""
        request = OriginRequest(headers, None)
        return any(
            rule.enabled and not rule.header and any(map(partial(_is_sent, request), rule.when))
            for rule in self._rules
        )


class _Index:
    """Tells which of some rules a request may satisfy, by the names it holds.

    Most traffic holds none of them, and a walk over the whole table would cost it more than all
    else the bridge does. Only signals are indexed: a rule whose signal is absent finds nothing,
    whatever its evidence.
    """

    def __init__(self, rules: Iterable[OriginRule]) -> None:
        self._rules = tuple(rules)
        self._by_header: defaultdict[str, set[int]] = defaultdict(set)
        self._by_field: defaultdict[str, set[int]] = defaultdict(set)
        self._by_text: set[int] = set()
        for number, rule in enumerate(self._rules):
            for name in rule.header:
                self._by_header[name].add(number)
            for path in rule.body:
                self._by_field[path.split(".")[0]].add(number)
            if rule.system is not None:
                self._by_text.add(number)

    def candidates(self, request: OriginRequest) -> list[OriginRule]:
        """The rules that may find something, in their order."""
        numbers = self._by_text.copy()
        for name in self._by_header.keys() & request.headers.keys():
            numbers |= self._by_header[name]
        for name in self._by_field.keys() & request.body.keys():
            numbers |= self._by_field[name]
        return [self._rules[number] for number in sorted(numbers)]


def origin_by(rule: OriginRule, request: OriginRequest) -> Origin | None:
    """What one rule finds in a request."""
    found = _find(rule, request)
    if found is None:
        return None
    external_id = _bounded(_compose(rule, _checked(found), request))
    return Origin(rule.scope, external_id, rule.kind, rule.history, rule.by_caller)


class _Found(NamedTuple):
    where: str
    """The header or field, for the person who has to correct it."""
    text: str


@cache
def _packaged() -> tuple[OriginRule, ...]:
    text = resources.files(__package__).joinpath("origins.toml").read_text("utf-8")
    return tuple(OriginRule.model_validate(row) for row in tomllib.loads(text)["origins"])


def _find(rule: OriginRule, request: OriginRequest) -> _Found | None:
    # Look-ups before evidence: most rules end at a missing header, and evidence may have to search
    # a system prompt of 50 KB.
    if rule.system is not None:
        return _in_prompt(rule.system, request) if _shown(rule.when, request) else None
    found = _in_fields(rule, request)
    return found if found is not None and _shown(rule.when, request) else None


def _in_fields(rule: OriginRule, request: OriginRequest) -> _Found | None:
    for name in rule.header:
        text = _extracted(rule.extract, request.header(name))
        if text:
            return _Found(f"header {name}", text)
    for path in rule.body:
        text = _extracted(rule.extract, request.field(path))
        if text:
            return _Found(f"body field {path}", text)
    return None


def _extracted(pattern: re.Pattern[str] | None, text: str | None) -> str | None:
    if pattern is None or text is None:
        return text
    match = pattern.search(text)
    return match["id"].strip() if match and match["id"] else None


def _in_prompt(pattern: re.Pattern[str], request: OriginRequest) -> _Found | None:
    for where, text in (("system prompt", request.system), ("first message", request.first_user)):
        # The last match: a client appends its own line after the text it was given, and that text
        # may quote the line of another conversation.
        ids = [match["id"].strip() for match in pattern.finditer(text) if match["id"]]
        if ids and ids[-1]:
            return _Found(where, ids[-1])
    return None


def _shown(alternatives: tuple[Evidence, ...], request: OriginRequest) -> bool:
    return not alternatives or any(_holds(evidence, request) for evidence in alternatives)


def _is_sent(request: OriginRequest, evidence: Evidence) -> bool:
    """Whether its headers are what the evidence asks for, where it asks for any."""
    alone = evidence.model_copy(update={"body": {}, "system": None})
    return bool(evidence.header) and _holds(alone, request)


def _holds(evidence: Evidence, request: OriginRequest) -> bool:
    for name, pattern in evidence.header.items():
        value = request.headers.get(name)
        if value is None or not pattern.search(value):
            return False
    for path, pattern in evidence.body.items():
        value = request.field(path)
        if value is None or not pattern.search(value):
            return False
    return evidence.system is None or evidence.system in request.system


def check_id(text: str, where: str) -> None:
    """Raises `BadRequest`; `where` tells where it was found."""
    if _CONTROL.search(text):
        problem = "holds a control character"
    elif _SURROGATE.search(text):
        problem = "is not valid UTF-8"
    else:
        return
    raise BadRequest(
        f"The session id in the {where} {problem}; send an id of printable text.",
        param=where.rpartition(" ")[2],
    )


def _checked(found: _Found) -> str:
    check_id(found.text, found.where)
    return found.text


def _bounded(external_id: str) -> str:
    # Hashed, not cut: two long ids with the same beginning must not meet.
    if len(external_id) <= MAX_ID_CHARS:
        return external_id
    return "sha256:" + hashlib.sha256(external_id.encode()).hexdigest()


def _compose(rule: OriginRule, text: str, request: OriginRequest) -> str:
    if rule.key == "goclaw":
        return _goclaw_key(text, request)
    if rule.agent_header is None:
        return text
    # Escaped with and without an agent, so that an id "a/b" is never agent "b" of "a".
    session = _escaped(text, "/")
    agent = _checked_header(rule.agent_header, request)
    return f"{session}/{agent}" if agent else session


def _goclaw_key(user: str, request: OriginRequest) -> str:
    """GoClaw's own `agent:<agent>:http:direct:<user>`, read back in one way only.

    GoClaw joins the parts as they are. Here an agent's `:` is escaped; the user comes last and
    needs no escape, so plain agents give exactly GoClaw's key for every user. A tenant is put in
    front, because one store holds the sessions of all of them.
    """
    agent = (
        _goclaw_model(request)
        or _checked_header("x-goclaw-agent-id", request)
        or _checked_header("x-goclaw-agent", request)
        or "default"
    )
    key = f"agent:{_escaped(agent, ':')}:http:direct:{user}"
    tenant = _checked_header("x-goclaw-tenant-id", request)
    return f"tenant:{_escaped(tenant, ':')}:{key}" if tenant else key


def _goclaw_model(request: OriginRequest) -> str | None:
    model = request.field("model") or ""
    for prefix in ("goclaw:", "agent:"):
        agent = model.removeprefix(prefix).strip()
        if model.startswith(prefix) and agent:
            return _checked(_Found("body field model", agent))
    return None


def _checked_header(name: str, request: OriginRequest) -> str | None:
    text = request.header(name)
    return None if text is None else _checked(_Found(f"header {name}", text))


def _escaped(part: str, separator: str) -> str:
    return part.replace("%", "%25").replace(separator, f"%{ord(separator):02X}")
