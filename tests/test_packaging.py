"""What is imported is declared: an install brings all of it, whatever the packages it came with
by chance do next."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.proxy import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OWN = {"sessionbridge", "tests", "scripts"}
# For the script it ships, which the dashboard serves.
NOT_IMPORTED = {"plotly"}
# Those that only a newer Python than this has.
LATER = {"compression"}
# They are not imported, or only by other tools: what runs the tests and the checks.
TOOLS = {"pytest-cov", "pytest-timeout", "pytest-xdist", "ruff", "mypy", "import-linter"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: Iterable[str]) -> dict[str, str]:
    """The distributions, each with its whole line."""
    found = {re.match(r"[\w.-]+", line): line for line in requirements}
    return {normal(match[0]): line for match, line in found.items() if match}


def imported(folder: Path) -> Iterator[str]:
    """The modules of other distributions, by their full names."""
    for path in folder.rglob("*.py"):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            top = names[0].partition(".")[0]
            if top not in sys.stdlib_module_names | OWN | LATER:
                yield names[-1] if top == "backports" else top


def distributions(folder: str) -> dict[str, set[str]]:
    """By module, the distributions that may have brought it."""
    known = packages_distributions()
    return {
        module: {normal(name) for name in known.get(module, [])} or {normal(module)}
        for module in imported(ROOT / folder)
    }


MAIN = declared(PROJECT["dependencies"])
EXTRAS = {
    "otel": "addon/sessionbridge/telemetry",
    "postgres": "addon/sessionbridge/sessions/store/postgres",
}
"""The room that alone imports what each of them brings."""
TEST = declared(PROJECT["optional-dependencies"]["test"])


def test_every_import_of_the_addon_belongs_to_a_declared_dependency() -> None:
    missing = {m: d for m, d in distributions("addon").items() if not d & MAIN.keys()}
    for extra, room in EXTRAS.items():
        brought = declared(PROJECT["optional-dependencies"][extra])
        for module in distributions(room):
            if missing.get(module, set()) & brought.keys():
                del missing[module]
    assert missing == {}, "what an extra brings is imported in its room alone"


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_every_import_of_the_tests_and_scripts_does_too(folder: str) -> None:
    known = MAIN.keys() | TEST.keys()
    missing = {m: d for m, d in distributions(folder).items() if not d & known}
    assert missing == {}


def test_nothing_is_declared_that_nobody_imports() -> None:
    used = set().union(*distributions("addon").values())
    assert MAIN.keys() - used == NOT_IMPORTED
    tested = used.union(*distributions("tests").values(), *distributions("scripts").values())
    assert TEST.keys() - tested == TOOLS


@pytest.mark.parametrize("line", [*MAIN.values(), *TEST.values()])
def test_every_dependency_has_both_bounds(line: str) -> None:
    assert re.fullmatch(r"[^<>;]+>=[\d.]+,<[\d.]+(; python_version < '3\.14')?", line)
