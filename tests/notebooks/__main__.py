"""Compare notebooks run plainly and with the button: `python -m tests.notebooks PATH…`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.notebooks.cells import plain, pressed, read_cells
from tests.notebooks.comparison import Result, differences, outcome_of, told_of_loops
from tests.notebooks.runs import NotebookRun, run_cells

OUTCOMES = ("identical", "different", "failing", "hanging")


def compare(name: str, cells: Sequence[str], data: Path, patience: float = 120.0) -> Result:
    """Run cells plainly and with the button; what differs from run to run anyway does not count.

    Parameters
    ----------
    name
        What the result is called.
    data
        The folder whose files they find in their working directory.
    patience
        Seconds for each cell that runs plainly.
    """
    with tempfile.TemporaryDirectory(prefix="notebooks-", ignore_cleanup_errors=True) as made:
        folder = Path(made)

        def run(sources: Sequence[str], seconds: float) -> NotebookRun:
            return run_cells(sources, data, folder / "work", folder / "state", seconds)

        first = run([plain(cell) for cell in cells], patience)
        cells = cells[: len([cell for cell in first.cells if not cell.hangs])]
        button = run([pressed(cell) for cell in cells], 3 * patience)
        found = differences(first, button)
        if found:
            again = differences(first, run([plain(cell) for cell in cells], 3 * patience))
            found = {place: what for place, what in found.items() if place not in again}
    sent, refused = told_of_loops(button)
    return Result(
        name=name,
        cells=len(cells),
        with_loops=sum(plain(cell) != pressed(cell) for cell in cells),
        outcome=outcome_of(first, button, found),
        differences=found,
        sent=sent,
        refused=refused,
        raised=sum(bool(cell.error) for cell in first.cells),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Compare each notebook named; 0 when none differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.notebooks", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for each cell")
    options = parser.parse_args(argv)
    totals, refused, sent = Counter[str](), Counter[str](), 0
    for path in options.paths:
        result = compare(str(path), read_cells(path), path.parent, options.patience)
        totals[result.outcome] += 1
        refused += result.refused
        sent += result.sent
        print(
            f"{result.outcome:9}  {path}: {result.cells} cells, {result.with_loops} with loops,"
            f" {result.raised} raise; {result.sent} loops sent, {result.refused.total()} refused",
            flush=True,
        )
        for (number, what), sides in list(result.differences.items())[:12]:
            print(f"    cell {number + 1}, {what}: {sides}", flush=True)
    print("\n" + ", ".join(f"{totals[outcome]} {outcome}" for outcome in OUTCOMES))
    print(f"{sent} loops sent, {refused.total()} refused:")
    for reason, count in refused.most_common():
        print(f"{count:6}  {reason}")
    return 0 if totals["identical"] == totals.total() else 1


if __name__ == "__main__":
    sys.exit(main())
