"""The median of many short calls, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_seconds(call: Callable[[], object], *, calls: int = 300, within: float = 0.3) -> float:
    """Return the median duration of up to `calls` calls; stop early after `within` seconds."""
    durations: list[float] = []
    deadline = time.perf_counter() + within
    while len(durations) < calls and (not durations or time.perf_counter() < deadline):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return median(durations)
