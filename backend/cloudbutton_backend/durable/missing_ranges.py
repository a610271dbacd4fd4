"""Which items are missing: as ranges, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of

Range = tuple[int, int]
"""The items ``[first, stop)``."""


def uncovered(runs: Iterable[ResultRange], held: Iterable[ResultRange]) -> list[ResultRange]:
    """Return what of `runs` concerns items that are not in `held`."""
    gaps = complement(ranges_of(held), 1 << 62)
    return [
        ResultRange(max(run.first, first), min(run.stop, stop), run.entry)
        for run in runs
        for first, stop in gaps
        if max(run.first, first) < min(run.stop, stop)
    ]


def complement(done: Sequence[Range], count: int) -> list[Range]:
    """Return the ranges of items below `count` that are not in `done`, which is in order."""
    gaps, start = [], 0
    for first, stop in (*done, (count, count)):
        if start < min(first, count):
            gaps.append((start, min(first, count)))
        start = max(start, stop)
    return gaps


def named(ranges: Sequence[Range]) -> str:
    """Return `item 3`, `items 3–7 and 9`."""
    names = [f"{first}" if stop == first + 1 else f"{first}–{stop - 1}" for first, stop in ranges]
    if len(names) > 5:
        names = [*names[:4], f"{len(names) - 4} more stretches"]
    one = len(ranges) == 1 and ranges[0][1] == ranges[0][0] + 1
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{'item' if one else 'items'} {text}"
