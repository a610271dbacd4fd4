"""From a job's batches to what its charts show, in a bounded number of shapes. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloudbutton_backend.job_model import BatchRecord

#: Steps of time in a chart, and lanes: what a page has room for.
STEPS: Final = 480
LANES: Final = 40
BARS: Final = 28

Kind = Literal["done", "failed", "lost"]
_SEVERITY: Final[dict[Kind, int]] = {"done": 0, "failed": 1, "lost": 2}


@dataclass(frozen=True, slots=True)
class ChartInterval:
    """Steps of one worker's time, `[first, stop)`, in which the worst that happened is the same."""

    first: int
    stop: int
    kind: Kind


@dataclass(frozen=True)
class TimelineChart:
    """Which worker ran when; or, where there are too many of them, how many did."""

    seconds: float
    n_workers: int
    lanes: tuple[tuple[str, tuple[ChartInterval, ...]], ...]
    """By worker, in the order in which they began; none if there are more than `LANES`."""
    busy: tuple[int, ...]
    """Workers at work in each step."""


@dataclass(frozen=True)
class Histogram:
    """How long items took."""

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


def timeline(batches: Sequence[BatchRecord], *, lanes: int = LANES) -> TimelineChart | None:
    """Return who ran when, merged to steps; None without batches."""
    if not batches:
        return None
    begin, seconds = _span(batches)
    by_worker: dict[str, dict[int, Kind]] = defaultdict(dict)
    for batch in sorted(batches, key=lambda each: each.start):
        steps, kind = by_worker[batch.worker], _kind(batch)
        for step in _steps(batch, begin, seconds):
            known = steps.get(step)
            if known is None or _SEVERITY[kind] > _SEVERITY[known]:
                steps[step] = kind
    busy = [0] * STEPS
    for steps in by_worker.values():
        for step in steps:
            busy[step] += 1
    shown = (
        tuple((worker, _merged(steps)) for worker, steps in by_worker.items())
        if len(by_worker) <= lanes
        else ()
    )
    return TimelineChart(seconds, len(by_worker), shown, tuple(busy))


def histogram(batches: Iterable[BatchRecord], *, bars: int = BARS) -> Histogram | None:
    """Return how long items took, each counted with its batch's mean; None if nothing was measured."""
    taken = sorted(
        ((batch.end - batch.start) / batch.count, batch.count)
        for batch in batches
        if batch.count and batch.end > batch.start and _kind(batch) != "lost"
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
    begin, seconds = _span(batches)
    peaks = [0] * STEPS
    for batch in known:
        step = _step(batch.end, begin, seconds)
        peaks[step] = max(peaks[step], batch.memory_peak)
    for step in range(1, STEPS):  # a resident peak never falls
        peaks[step] = max(peaks[step], peaks[step - 1])
    return MemoryChart(seconds, tuple(peaks), peaks[-1])


def _span(batches: Iterable[BatchRecord]) -> tuple[float, float]:
    """Return when the first batch began, and the seconds until the last ended."""
    begin, end = math.inf, -math.inf
    for batch in batches:
        begin, end = min(begin, batch.start), max(end, batch.end)
    return begin, max(end - begin, 1e-6)


def _step(when: float, begin: float, seconds: float) -> int:
    return min(max(int((when - begin) / seconds * STEPS), 0), STEPS - 1)


def _steps(batch: BatchRecord, begin: float, seconds: float) -> range:
    return range(_step(batch.start, begin, seconds), _step(batch.end, begin, seconds) + 1)


def _merged(steps: dict[int, Kind]) -> tuple[ChartInterval, ...]:
    stretches: list[ChartInterval] = []
    for step in sorted(steps):
        last = stretches[-1] if stretches else None
        if last is not None and last.stop == step and last.kind == steps[step]:
            stretches[-1] = ChartInterval(last.first, step + 1, last.kind)
        else:
            stretches.append(ChartInterval(step, step + 1, steps[step]))
    return tuple(stretches)


def _kind(batch: BatchRecord) -> Kind:
    if batch.status in ("lost", "timeout"):
        return "lost"
    return "failed" if batch.failed or batch.status == "error" else "done"


def _quantile(taken: Sequence[tuple[float, int]], total: int, share: float) -> float:
    seen = 0
    for length, count in taken:
        seen += count
        if seen >= share * total:
            return length
    return taken[-1][0]
