"""The documents of the repository: where they are, and what stands in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.proxy import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PLATFORMS = ROOT / "addon" / "platforms"
DOCUMENTS = sorted(
    path
    for folder in (
        ROOT,
        DOCS,
        ROOT / "addon",
        PLATFORMS,
        ROOT / "certs",
        ROOT / "findings",
    )
    for path in folder.glob("*.md")
)

_FENCED = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def blocks(document: Path, language: str) -> list[str]:
    """The examples in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.M | re.S)


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives the headings."""
    return set(_anchors(_prose(document)))


def _anchors(prose: str) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for heading in _HEADING.findall(prose):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        yield f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1


def local_links(document: Path) -> list[tuple[str, str]]:
    """Those that stay in the repository, each as a path (none for the document itself) and an
    anchor (none for the top)."""
    links = (link for link in _LINK.findall(_prose(document)) if ":" not in link)
    return [(path, anchor) for path, _, anchor in (link.partition("#") for link in links)]


def _prose(document: Path) -> str:
    """All but the examples, where a `#` begins a comment."""
    return _FENCED.sub("", document.read_text("utf-8"))
