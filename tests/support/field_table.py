"""The tables of `docs/fields.md`: what becomes of each field and each endpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.support.documents import DOCS

PAGE = DOCS / "fields.md"

_SEVERAL = re.compile(r"\{([^{}]*, [^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Signs:
    """The sign of each field, by its path."""

    of: Mapping[str, str]

    def is_open(self, path: str) -> bool:
        """Whether what is in the field is decided one by one."""
        below = (other.startswith(f"{path}.") for other in self.of)
        return self.of.get(path) in ("✓", "≈") or any(below)

    def is_taken(self, path: str) -> bool:
        """Whether a value of that kind is of use, so that its fields are decided."""
        return self.of.get(path) not in ("–", "400")


class Endpoint(NamedTuple):
    """`methods` are those of the official client that ask it."""

    method: str
    path: str
    sign: str
    methods: tuple[str, ...]


def signs(*headings: str) -> Signs:
    """Those of the tables under these headings; a later one counts for more."""
    found: dict[str, str] = {}
    for heading in headings:
        for first, sign, *_ in _rows(heading):
            found |= dict.fromkeys(_named(first), sign)
    return Signs(found)


def endpoints() -> Iterator[Endpoint]:
    for first, sign, methods, *_ in _rows("Endpoints"):
        (name,) = _named(first)
        method, path = name.split(" ")
        yield Endpoint(method, path, sign, tuple(_named(methods)))


def _rows(heading: str) -> Iterator[list[str]]:
    section = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def _named(cell: str) -> Iterator[str]:
    """What is named there; `a.{b, c}` are two."""
    for name in re.findall(r"`([^`]+)`", cell):
        several = _SEVERAL.search(name)
        for one in several[1].split(", ") if several else [""]:
            yield _SEVERAL.sub(one, name)
