"""Jobs for the simulator: how many items, how long each takes, when they come."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from cloudbutton_backend.dispatch.job_state import DispatchPlan


@dataclass(frozen=True, kw_only=True)
class Work:
    """One imaginary job."""

    seconds: Sequence[float]
    """What each item takes."""
    id: str = "job"
    workers: int | None = None
    retries: int = 0
    stop_on_error: bool = True
    backup: bool = True
    timeout: float | None = None
    opens: float = 0.0
    """When it is started."""
    chunk: int | None = None
    """Items that a stream brings at a time; None if all are there from the start."""
    pause: float = 0.0
    """Seconds between two chunks of a stream."""
    cancel: float | None = None
    """When it is cancelled."""
    retry: float | None = None
    """Seconds after a bad end until what failed is run again, once."""
    budget: float | None = None
    """Dollars that it may spend."""
    more: float | None = None
    """Dollars that it may spend in all, once it is retried; None for as many as before."""
    by_day: bool = False
    """Whether it may spend only what it is given of the day's budget."""
    done: tuple[tuple[int, int], ...] = ()
    """Ranges of items that have results before it is started."""
    spent: float = 0.0
    """Dollars that it had spent before."""

    def plan(self) -> DispatchPlan:
        """Return what the dispatcher is told of it."""
        return DispatchPlan(
            job_id=self.id,
            n_items=len(self.seconds) if self.chunk is None else None,
            workers=self.workers,
            retries=self.retries,
            stop_on_error=self.stop_on_error,
            backup=self.backup,
            budget=self.budget,
            by_day=self.by_day,
            done=self.done,
            spent=self.spent,
        )


def uniform(n: int, seconds: float) -> list[float]:
    """Return equal durations."""
    return [seconds] * n


def heavy_tail(n: int, seconds: float, longest: float, at: int) -> list[float]:
    """Return equal durations but for one item."""
    durations = [seconds] * n
    durations[at] = longest
    return durations


def log_normal(n: int, median: float, sigma: float, seed: int = 0) -> list[float]:
    """Return durations as they are in many a workload: a few far longer than the rest."""
    draw = random.Random(seed)
    return [median * draw.lognormvariate(0.0, sigma) for _ in range(n)]


def ideal_makespan(seconds: Sequence[float], ready: Sequence[float]) -> float:
    """Return what handing out item by item would take, in order, without any overhead.

    Parameters
    ----------
    ready
        When each worker is there.
    """
    free, end = sorted(ready), 0.0
    for duration in seconds:
        end = max(end, free[0] + duration)
        heapq.heapreplace(free, free[0] + duration)
    return end
