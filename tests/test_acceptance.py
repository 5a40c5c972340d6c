"""docs/acceptance.md and the tests name the same numbers: what the product must do is shown by a
test, and each number in a test has its sentence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.documents import DOCS

TESTS = Path(__file__).parent


def listed() -> list[int]:
    page = (DOCS / "acceptance.md").read_text("utf-8")
    return [int(number) for number in re.findall(r"^(\d+)\. \S", page, re.M)]


def test_the_list_is_numbered_without_a_gap() -> None:
    numbers = listed()
    assert len(numbers) >= 34
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_number_of_the_list_is_in_a_test_and_no_other() -> None:
    files = *TESTS.glob("test_*.py"), *TESTS.glob("*/test_*.py")
    shown = {row for file in files for row in _rows(file)}
    assert shown == set(listed())


def _rows(file: Path) -> set[int]:
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    calls = (node for node in nodes if isinstance(node, ast.Call) and _is_marker(node.func))
    arguments = (argument for call in calls for argument in call.args)
    return {int(str(arg.value)) for arg in arguments if isinstance(arg, ast.Constant)}


def _is_marker(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "acceptance"
