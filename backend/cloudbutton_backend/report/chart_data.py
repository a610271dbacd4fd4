"""Reduces a job's batches to the data of its charts, in a bounded number of shapes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.job_model.timeline import batch_kind, span, step_at

#: Steps of time in a chart: what a page has room for.
STEPS: Final = 480
BARS: Final = 28


@dataclass(frozen=True)
class Histogram:
    """A histogram of the items' durations."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float
    p95: float
    longest: float
    is_logarithmic: bool


@dataclass(frozen=True)
class MemoryChart:
    """Resident peaks of the workers."""

    seconds: float
    peaks: tuple[int, ...]
    """The largest known in each step, bytes; 0 before the first."""
    peak: int


def histogram(batches: Iterable[BatchRecord], *, bars: int = BARS) -> Histogram | None:
    """Return how long items took, each counted with its batch's mean; None if nothing was measured."""
    taken = sorted(
        ((batch.end - batch.start) / batch.count, batch.count)
        for batch in batches
        if batch.count and batch.end > batch.start and batch_kind(batch) != "lost"
    )
    if not taken:
        return None
    low, high = taken[0][0], taken[-1][0]
    total = sum(count for _, count in taken)
    is_logarithmic = high > 20 * low
    if low == high:
        edges: tuple[float, ...] = (low * 0.5, low * 1.5)
    elif is_logarithmic:
        ratio = math.log(high / low) / bars
        edges = tuple(low * math.exp(ratio * number) for number in range(bars + 1))
    else:
        edges = tuple(low + (high - low) * number / bars for number in range(bars + 1))
    counts = [0] * (len(edges) - 1)
    bar = 0
    for length, count in taken:
        while bar < len(counts) - 1 and length >= edges[bar + 1]:
            bar += 1
        counts[bar] += count
    return Histogram(
        edges,
        tuple(counts),
        _quantile(taken, total, 0.5),
        _quantile(taken, total, 0.95),
        high,
        is_logarithmic,
    )


def memory(batches: Sequence[BatchRecord]) -> MemoryChart | None:
    """Return the workers' peaks over time; None where they are not known."""
    known = [batch for batch in batches if batch.memory_peak]
    if not known:
        return None
    begin, seconds = span(batches)
    peaks = [0] * STEPS
    for batch in known:
        step = step_at(batch.end, begin, seconds, STEPS)
        peaks[step] = max(peaks[step], batch.memory_peak)
    for step in range(1, STEPS):  # a resident peak never falls
        peaks[step] = max(peaks[step], peaks[step - 1])
    return MemoryChart(seconds, tuple(peaks), peaks[-1])


def _quantile(taken: Sequence[tuple[float, int]], total: int, share: float) -> float:
    seen = 0
    for length, count in taken:
        seen += count
        if seen >= share * total:
            return length
    return taken[-1][0]
