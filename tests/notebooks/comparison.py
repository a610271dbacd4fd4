"""What two runs of a notebook left that differs, and what the button said of its loops."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.notebooks.runs import CellRun, NotebookRun

Place = tuple[int, str]
"""The number of a cell, and a name or a kind of output; -1 after the last one."""


@dataclass
class Result:
    """What came of a notebook."""

    name: str
    cells: int
    with_loops: int
    outcome: str
    """identical, different, failing or hanging"""
    differences: dict[Place, str] = field(default_factory=dict)
    sent: int = 0
    """Loops that ran elsewhere."""
    refused: Counter[str] = field(default_factory=Counter)
    """Loops that ran here, by the reason without its names."""
    raised: int = 0
    """Cells that raise when they run plainly, too."""


def differences(plain: NotebookRun, other: NotebookRun) -> dict[Place, str]:
    """Return what differs, each with both sides."""
    found: dict[Place, str] = {}
    for number, (one, two) in enumerate(zip(plain.cells, other.cells)):
        for what, left, right in _compared(one, two):
            if left != right:
                found[number, what] = f"{left!r:.300} != {right!r:.300}"
    if len(plain.cells) == len(other.cells):
        for file in sorted(plain.files.keys() | other.files.keys()):
            left, right = (
                plain.files.get(file, "no such file"),
                other.files.get(file, "no such file"),
            )
            if left != right:
                found[-1, f"file {file}"] = f"{left} != {right}"
    return found


def _compared(one: CellRun, two: CellRun) -> Iterator[tuple[str, object, object]]:
    yield "hangs", one.hangs, two.hangs
    for kind in one.shown.keys() | two.shown.keys():
        yield kind, one.shown.get(kind), two.shown.get(kind)
    for name in one.names.keys() | two.names.keys():
        yield f"`{name}`", one.names.get(name, "no such name"), two.names.get(name, "no such name")


def outcome_of(plain: NotebookRun, button: NotebookRun, found: dict[Place, str]) -> str:
    """Return what became of the notebook, in one word."""
    if any(cell.hangs for cell in button.cells):
        return "hanging"
    if any(place[1] == "error" for place in found):
        return "failing"
    return "different" if found else "identical"


def told_of_loops(button: NotebookRun) -> tuple[int, Counter[str]]:
    """Return the number of loops sent, and why others ran here."""
    sent, refused = 0, Counter[str]()
    for cell in button.cells:
        for text in cell.told:
            for line in text.splitlines():
                if "✓" in line:
                    sent += 1
                elif re.match(r"(☁ )?(ran here: |line \d+)", line):
                    refused[_reason(line)] += 1
    return sent, refused


def _reason(line: str) -> str:
    """Return why a loop ran here, the same for all loops that did for that reason."""
    line = line.partition("; to run it in parallel")[0].partition("; effects outside")[0]
    line = re.sub(r"`[^`]*`", "`…`", line)
    return re.sub(r"\d[\d.,]*", "n", line).removeprefix("☁ ").strip()
