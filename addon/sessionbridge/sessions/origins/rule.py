"""One row of the origin table, in the packaged `origins.toml` and in the user's own TOML alike.

A row says which client it is about (`when`), where that client writes its id (one of `header`,
`body`, `system`), and what kind of id it is. A row may leave fields out: a user's row that bears
the name of a packaged one changes only what it gives. `check_complete` tells whether a row can
stand alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from sessionbridge.model import History, Kind

Priority = Literal["own", "platform", "generic", "body", "text", "user", "proxy"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""First wins. A header is somebody's decision, a body field may be, a text never is. What the
address of the proxy says is about all requests of a program, so it comes last."""

SIGNALS = ("header", "body", "system")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | dict) else value


def _header_name(name: str) -> str:
    return name.strip().lower()


def _with_id(pattern: re.Pattern[str]) -> re.Pattern[str]:
    if "id" not in pattern.groupindex:
        raise ValueError("the pattern needs a group named id, as in (?P<id>…)")
    return pattern


Name = Annotated[str, Field(min_length=1)]
HeaderName = Annotated[str, AfterValidator(_header_name), Field(min_length=1)]
IdPattern = Annotated[re.Pattern[str], AfterValidator(_with_id)]


class Evidence(BaseModel):
    """What shows that a request comes from one client; all of it must hold.

    Patterns are searched, so an empty one asks only that the header or field is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: dict[HeaderName, re.Pattern[str]] = {}
    body: dict[Name, re.Pattern[str]] = {}
    system: Name | None = None
    """Text that the system prompt contains."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not (self.header or self.body or self.system):
            raise ValueError("evidence without a header, body or system condition proves nothing")
        return self


class OriginRule(BaseModel):
    """Where one client, service or convention writes the id of a conversation or a user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    platform: Name | None = None
    """The scope of the id, the row's name unless given. Rows that share it share ids."""

    priority: Priority | None = None
    kind: Kind = "conversation"
    history: History = "learn"
    enabled: bool = True
    by_caller: bool = False
    """The id is of use with the credentials that began the conversation alone, as at an API that
    gives its ids to an account."""

    header: Annotated[tuple[HeaderName, ...], BeforeValidator(_listed)] = ()
    """Header names, tried in order."""
    body: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    """Dotted paths into the JSON body, tried in order."""
    system: IdPattern | None = None
    """Searched in the system prompt, then in the first user message; the last match counts."""

    when: Annotated[tuple[Evidence, ...], BeforeValidator(_listed)] = ()
    """Alternatives: one of them must hold. None means that the signal's own name is enough."""
    extract: IdPattern | None = None
    """Takes the id out of a longer header or field value; without a match there is no signal."""
    agent_header: HeaderName | None = None
    """Names a sub-agent, which has a conversation of its own under the same id."""
    key: Literal["goclaw"] | None = None
    """Builds the external id from more than the one value."""

    @field_validator("name", "platform")
    @classmethod
    def _without_colon(cls, name: str | None) -> str | None:
        if name and ":" in name:
            raise ValueError("a colon stands between a client and a platform; leave it out")
        return name

    @model_validator(mode="after")
    def _one_signal(self) -> Self:
        given = [field for field in SIGNALS if getattr(self, field)]
        if len(given) > 1:
            raise ValueError(f"origin {self.name!r} has {' and '.join(given)}; give one of them")
        return self

    @property
    def scope(self) -> str:
        return self.platform or self.name

    @property
    def precedence(self) -> Priority:
        """The class given, or the one that kind and signal suggest."""
        if self.priority is not None:
            return self.priority
        if self.kind == "user":
            return "user"
        if self.header:
            return "platform"
        return "body" if self.body else "text"

    def check_complete(self) -> None:
        """Raises `ValueError` for a row that says nothing about where the id is."""
        if not any(getattr(self, field) for field in SIGNALS):
            raise ValueError(
                f"origin {self.name!r} is not in the packaged table and has no header, body or "
                "system; add one of them, or use the name of a known row"
            )

    def changed_by(self, row: OriginRule) -> OriginRule:
        """This row with the fields that `row` gives; a new signal replaces the old one."""
        given = {field: getattr(row, field) for field in row.model_fields_set}
        kept = {field: getattr(self, field) for field in self.model_fields_set}
        if any(field in given for field in SIGNALS):
            kept = {field: value for field, value in kept.items() if field not in SIGNALS}
        return OriginRule.model_validate({**kept, **given})
