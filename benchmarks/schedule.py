"""What a perfect pool would need, from the durations that tasks measured of themselves."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


def even_split(durations: Iterable[float], workers: int) -> float:
    """Return the makespan if the work could be divided without loss.

    >>> even_split([1, 1, 2], 2)
    2.0
    """
    return sum(durations) / workers


def list_schedule(durations: Iterable[float], workers: int) -> float:
    """Return the makespan of giving each task, in order, to the worker that is free first.

    >>> list_schedule([2, 1, 1, 1], 2)
    3.0
    """
    free_at = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free_at, free_at[0] + duration)
    return max(free_at)
