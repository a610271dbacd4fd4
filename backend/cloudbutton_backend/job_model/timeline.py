"""A timeline of workers in a bounded number of steps, drawn by the cell's summary and the report. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_backend.job_model.records import BatchRecord

BatchKind = Literal["done", "failed", "lost"]
BATCH_KINDS: Final[tuple[BatchKind, ...]] = ("done", "failed", "lost")
"""The worst last."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Steps of one worker's time, `[first, stop)`, in which the worst that happened is the same."""

    first: int
    stop: int
    kind: BatchKind


@dataclass(frozen=True)
class Timeline:
    """The times at which each worker ran."""

    seconds: float
    steps: int
    """Into which the time is divided."""
    lanes: tuple[tuple[str, tuple[Interval, ...]], ...]
    """By worker, in the order in which they began, as far as there is room."""
    n_workers: int
    """All of them."""
    busy: tuple[int, ...]
    """Workers at work in each step."""

    @property
    def is_complete(self) -> bool:
        """Whether there is a lane for each worker."""
        return len(self.lanes) == self.n_workers


def timeline_of(batches: Sequence[BatchRecord], *, steps: int, lanes: int) -> Timeline | None:
    """Return the timeline; None without batches."""
    if not batches:
        return None
    begin, seconds = span(batches)
    by_worker: dict[str, dict[int, BatchKind]] = defaultdict(dict)
    for batch in sorted(batches, key=lambda each: each.start):
        own, kind = by_worker[batch.worker], batch_kind(batch)
        last = step_at(batch.end, begin, seconds, steps)
        for step in range(step_at(batch.start, begin, seconds, steps), last + 1):
            own[step] = max(own.get(step, kind), kind, key=BATCH_KINDS.index)
    busy = [0] * steps
    for own in by_worker.values():
        for step in own:
            busy[step] += 1
    shown = list(by_worker.items())[:lanes]
    return Timeline(
        seconds,
        steps,
        tuple((worker, _merged(own)) for worker, own in shown),
        len(by_worker),
        tuple(busy),
    )


def batch_kind(batch: BatchRecord) -> BatchKind:
    """Return how a batch ended, as a picture shows it."""
    if batch.status in ("lost", "timeout"):
        return "lost"
    return "failed" if batch.failed or batch.status == "error" else "done"


def span(batches: Iterable[BatchRecord]) -> tuple[float, float]:
    """Return when the first batch began, and the seconds until the last ended."""
    begin, end = math.inf, -math.inf
    for batch in batches:
        begin, end = min(begin, batch.start), max(end, batch.end)
    return begin, max(end - begin, 1e-6)


def step_at(when: float, begin: float, seconds: float, steps: int) -> int:
    """Return the step in which a moment lies."""
    return min(max(int((when - begin) / seconds * steps), 0), steps - 1)


def _merged(steps: dict[int, BatchKind]) -> tuple[Interval, ...]:
    intervals: list[Interval] = []
    for step in sorted(steps):
        last = intervals[-1] if intervals else None
        if last is not None and last.stop == step and last.kind == steps[step]:
            intervals[-1] = Interval(last.first, step + 1, last.kind)
        else:
            intervals.append(Interval(step, step + 1, steps[step]))
    return tuple(intervals)
