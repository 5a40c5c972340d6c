"""Lines of JSON to which others are added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sessionbridge.claude.transcript.lines import add, read

LONG = ("long", "other")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.lines"


def told(file: Path) -> list[tuple[object, ...]]:
    return [(line["n"], line.get("long"), line.get("other")) for line in read(file, LONG)]


def written(file: Path) -> list[set[str]]:
    lines = filter(None, file.read_text().splitlines())
    return [set(json.loads(line)) - {"n", "digests"} for line in lines]


@pytest.mark.parametrize("size", [1, 100_000, 1_000_000])
def test_a_field_is_left_out_where_it_is_that_of_the_line_before(file: Path, size: int) -> None:
    assert told(file) == []
    a, b, c = ["ä" * size], {"b": "b" * size}, None
    for n, (long, other) in enumerate([(a, b), (a, b), (b, b), (b, c), (a, c)]):
        add(file, {"n": n, "long": long, "other": other}, LONG)
    assert told(file) == [(0, a, b), (1, a, b), (2, b, b), (3, b, c), (4, a, c)]
    assert written(file) == [{"long", "other"}, set(), {"long"}, {"other"}, {"long"}]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_without_such_fields_changes_none(file: Path) -> None:
    add(file, {"n": 1, "long": "x", "other": "y"}, LONG)
    add(file, {"n": 2})
    add(file, {"n": 3, "long": "x", "other": "y"}, LONG)
    assert told(file) == [(n, "x", "y") for n in (1, 2, 3)]
    assert written(file)[1:] == [set(), set()]


@pytest.mark.parametrize(
    "cut", ['{"n": 2, "long": "z', '{"n": 2, "long": "' + "z" * 100_000, "[2]"]
)
def test_a_line_that_was_cut_short_harms_no_other(file: Path, cut: str) -> None:
    add(file, {"n": 1, "long": "x", "other": "y"}, LONG)
    with file.open("a") as opened:
        opened.write(f"\n{cut}")
    add(file, {"n": 3, "long": "x", "other": "z"}, LONG)
    assert told(file) == [(1, "x", "y"), (3, "x", "z")]


def test_only_the_last_line_is_looked_at(file: Path) -> None:
    for n in (1, 2):
        add(file, {"n": n, "long": "x", "other": "y"}, LONG)
    _, *rest = filter(None, file.read_text().splitlines())
    file.write_text("\n".join(["no JSON", *rest]))
    add(file, {"n": 3, "long": "x", "other": "y"}, LONG)
    assert set(json.loads(file.read_text().splitlines()[-1])) == {"n", "digests"}


def test_lines_of_before_there_were_digests(file: Path) -> None:
    file.write_text('\n{"n": 1, "long": "x"}\n\n{"n": 2}\n')
    add(file, {"n": 3, "long": "x", "other": None}, LONG)
    assert told(file) == [(1, "x", None), (2, "x", None), (3, "x", None)]
