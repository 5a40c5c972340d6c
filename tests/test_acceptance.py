"""Each promise of the two systems this project follows is named by the tests that show it."""

from __future__ import annotations

import ast
from pathlib import Path

PROMISES = set(range(1, 35))


def test_every_promise_is_shown_by_a_test() -> None:
    here = Path(__file__).parent
    files = *here.glob("test_*.py"), *here.glob("*/test_*.py")
    shown = {row for file in files for row in _rows(file)}
    assert shown == PROMISES, f"not shown: {sorted(PROMISES - shown)}"


def _rows(file: Path) -> set[int]:
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    calls = (node for node in nodes if isinstance(node, ast.Call) and _is_marker(node.func))
    arguments = (argument for call in calls for argument in call.args)
    return {int(str(arg.value)) for arg in arguments if isinstance(arg, ast.Constant)}


def _is_marker(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == "acceptance"
