"""Keeps the last result where people look: between two marks in docs/speed.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.benchmarks.figures import Figure, Measured

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
_PLACE = re.compile(r"(<!-- scripts/bench -->\n).*?(<!-- end -->)", re.S)


def write(figures: Sequence[Figure], machine: Mapping[str, object], page: Path = PAGE) -> None:
    text = page.read_text("utf-8")
    if not _PLACE.search(text):
        raise ValueError(f"{page} has no place for the result: <!-- scripts/bench --> … ")
    shown = f"{_table(figures)}\nMachine: {_named(machine)}.\n"
    page.write_text(_PLACE.sub(lambda place: place[1] + shown + place[2], text), "utf-8")


def _table(figures: Sequence[Figure]) -> str:
    rows = [
        f"| {figure.name} | {_short(figure.measured)} | {figure.limit} | "
        f"{'yes' if figure.reached else '**no**'} |\n"
        for figure in figures
    ]
    head = "| figure | measured | must reach | reached |\n| --- | --- | --- | --- |\n"
    return head + "".join(rows)


def _short(measured: Measured) -> str:
    if isinstance(measured, str):
        return measured
    return ", ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in measured.items())


def _named(machine: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
