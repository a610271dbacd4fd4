"""Ranges of consecutive items: those with results so far, and those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cloudbutton_backend.job_model import ItemOutcome, Output
from cloudbutton_backend.results.result_record import ResultRecord, rebuild_error

Range = tuple[int, int]
"""The items ``[first, stop)``."""


class ResultRange:
    """Consecutive items with results, found in one entry or failed by one error."""

    __slots__ = ("entry", "error", "first", "stop")

    def __init__(
        self, first: int, stop: int, entry: ResultRecord | None, error: BaseException | None = None
    ) -> None:
        self.first, self.stop, self.entry, self.error = first, stop, entry, error

    def outcomes(self, start: int | None = None) -> Iterator[ItemOutcome]:
        first = self.first if start is None else start
        if self.entry is None:
            yield ItemOutcome(first, None, self.error)
        else:
            yield from self.entry.outcomes(first, self.stop)

    def outputs(self) -> Iterator[ItemOutcome]:
        """Yield the items that printed or displayed something, without their values."""
        outputs = {} if self.entry is None else self.entry.meta.outputs
        for index in sorted(outputs):
            if self.first <= index < self.stop:
                caught = tuple(Output(kind, data) for kind, data in outputs[index])
                yield ItemOutcome(index, outputs=caught)

    def failed(self) -> list[int]:
        """Return the items that have an error."""
        if self.entry is None:
            return [self.first]
        errors = self.entry.meta.errors
        indices = (self.entry.first + offset for offset in errors)
        return sorted(index for index in indices if self.first <= index < self.stop)

    def errors(self) -> Iterator[tuple[int, BaseException]]:
        """Yield the failed items with their exceptions."""
        if self.error is not None:
            yield self.first, self.error
        elif self.entry is not None:
            packed = self.entry.meta.errors
            for index in self.failed():
                yield (
                    index,
                    rebuild_error(packed[index - self.entry.first], index + self.entry.before),
                )


def runs_of(entry: ResultRecord, skip: frozenset[int]) -> list[ResultRange]:
    """Return the stretches of an entry that count."""
    stop = entry.first + entry.count
    if not skip:
        return [ResultRange(entry.first, stop, entry)]
    runs = []
    start = entry.first
    for index in range(entry.first, stop + 1):
        if index == stop or index in skip:
            if start < index:
                runs.append(ResultRange(start, index, entry))
            start = index + 1
    return runs


def only_done(runs: Iterable[ResultRange]) -> list[ResultRange]:
    """Return what remains of `runs` without the failed items."""
    kept: list[ResultRange] = []
    for run in runs:
        start = run.first
        for index in [*run.failed(), run.stop]:
            if start < index:
                kept.append(ResultRange(start, index, run.entry))
            start = index + 1
    return kept


def ranges_of(runs: Iterable[ResultRange]) -> tuple[Range, ...]:
    """Return the ranges of items that `runs` cover, joined where they touch."""
    joined: list[Range] = []
    for run in sorted(runs, key=lambda run: run.first):
        if joined and joined[-1][1] == run.first:
            joined[-1] = (joined[-1][0], run.stop)
        else:
            joined.append((run.first, run.stop))
    return tuple(joined)


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
