"""Compares what came back with what should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from benchmarks.faults.tally import Tally
from benchmarks.faults.tasks import Ledger, value


def judge(n_items: int, arrived: Iterable[tuple[int, Any]], results: list[Any] | None) -> Tally:
    """Judge a job that should have given `value` of each index.

    Parameters
    ----------
    arrived
        What it gave one by one, in the order in which it came.
    results
        What it gave in the end; None if only what arrived is to be judged.
    """
    arrived = list(arrived)
    times = Counter(index for index, _ in arrived)
    wrong = {index for index, got in arrived if got != value(index)}
    if results is not None:
        wrong |= {index for index, got in enumerate(results) if got != value(index)}
    lost = n_items - len(times) if results is None else n_items - len(results)
    return Tally(
        items=n_items,
        lost=lost + sum(index not in times for index in range(n_items)) * (results is not None),
        doubled=sum(count - 1 for count in times.values()),
        wrong=len(wrong),
    )


def recomputed(ledger: Ledger) -> int:
    """Return how many executions there were beyond the first of each item."""
    return sum(count - 1 for count in ledger.counts().values())
