"""The table of what was done and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.faults.scenarios import Scenario
from benchmarks.faults.tally import Tally

HEADINGS = ("scenario", "runs", "struck", "items", "lost", "doubled", "wrong", "run again")


def row(name: str, tally: Tally) -> tuple[str, ...]:
    """Return one line of the table."""
    counts = (tally.runs, tally.struck, tally.items, tally.lost, tally.doubled, tally.wrong)
    return (name, *(f"{count:,}" for count in (*counts, tally.recomputed)))


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return lines in Markdown, figures to the right."""
    lines = [HEADINGS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    first, *rest = (
        [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))]
        for cells in lines
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in (first, rule, *rest))


def remarks(scenario: Scenario, tally: Tally) -> str:
    """Return what the table has no column for."""
    lines = [f"{scenario.name}: {scenario.done}."]
    lines += [f"  {name}: {value:,.4g}" for name, value in tally.most.items()]
    lines += [f"  {times} ×: {note}" for note, times in tally.notes.items()]
    lines += [f"  NOT AS PROMISED: {surprise}" for surprise in tally.surprises]
    return "\n".join(lines)
