"""What a job will cost: from earlier runs of the same code, or from its first calls. Pure arithmetic.

::

    total = per_second × ( items × mean seconds  +  starts × what a start takes  +  calls × the rest )
          + what calls cost besides × calls

What is not known of the mean, from the few items measured so far, makes the interval: a factor each
way, with Student's t, as the spread is measured too. Durations are often skewed, the few longest
weighing as much as the rest together, so the factor is no less than it would be for a log-normal
distribution (D. R. Cox's interval). What the model leaves out adds a fixed part of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.jobs import Estimate

MODEL_ERROR: Final = 0.1
"""Part of an estimate by which even a well measured job may differ from it."""
ONE_RUN: Final = 0.3
"""The same where all that is known is the bill of one earlier run."""
WARM_SECONDS: Final = 0.02
"""What a call is billed besides its items, at most, where its environment is warm."""

#: The 95 % quantile of Student's t, by degrees of freedom from 1; beyond them, the normal one.
_T: Final = (
    6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81,
    1.80, 1.78, 1.77, 1.76, 1.75, 1.75, 1.74, 1.73, 1.73, 1.72,
)  # fmt: skip
_NORMAL: Final = 1.645
_WIDEST: Final = math.log(10)
"""Logarithm of the factor by which a mean may be off, at most: nobody is helped by more."""
_SHORTEST: Final = 0.02
"""Items count as at least this part of the mean when their logarithms are compared."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has been charged."""

    items: int
    work: float
    """Seconds that its items took."""
    billed: float
    """Seconds that it was charged for."""
    cost: float
    """Dollars that it was charged."""


@dataclass(frozen=True, slots=True)
class Run:
    """An earlier job of the same code."""

    items: int
    spend: float


def from_history(runs: Sequence[Run], items: int) -> Estimate | None:
    """Return what `items` cost if each costs what it did before; None if nothing is known.

    Parameters
    ----------
    runs
        Earlier jobs that ended well, whatever their order.
    """
    runs = [run for run in runs if run.items > 0 and run.spend > 0]
    if not runs:
        return None
    each = [run.spend / run.items for run in runs]
    mean = sum(run.spend for run in runs) / sum(run.items for run in runs)
    if len(runs) == 1:
        part = ONE_RUN
    else:
        # As a part of the price, so that the next run's own scatter is in it, too.
        part = _t(len(runs)) * _spread(each) * math.sqrt(1 + 1 / len(runs)) / mean
    basis = "1 earlier run" if len(runs) == 1 else f"{len(runs)} earlier runs"
    unsure = items * mean * part
    return _interval(items * mean, unsure, unsure, 0.0, basis)


def from_calls(
    calls: Sequence[Call],
    items: int,
    rate: Rate,
    *,
    workers: int,
    batch_seconds: float,
    spent: float = 0.0,
) -> Estimate | None:
    """Return what a job of `items` costs in all, judged by its first calls; None if there are none.

    Parameters
    ----------
    workers
        That it may have: each starts once.
    batch_seconds
        Work that goes into a call.
    spent
        What it has cost so far, which is the least that it will.
    """
    measured = sum(call.items for call in calls)
    if not measured:
        return None
    mean = sum(call.work for call in calls) / measured
    each = [call.work / call.items for call in calls if call.items]
    starting = sum(max(0.0, call.billed - call.work) for call in calls) / len(calls)
    rest = max(0, items - measured)
    per_call = max(1.0, batch_seconds / mean) if mean > 0 else float(max(1, rest))
    n_calls = len(calls) + math.ceil(rest / per_call)
    starts = min(workers, n_calls)
    warm = min(WARM_SECONDS, starting)
    # Not the rate's own price of a call, which is the most that it can be.
    besides = sum(max(0.0, call.cost - rate.per_second * call.billed) for call in calls)
    seconds = items * mean + starts * starting + (n_calls - starts) * warm
    expected = rate.per_second * seconds + besides / len(calls) * n_calls
    factor = _factor(each, rest)
    to_come = rate.per_second * rest * mean
    basis = "the first item" if measured == 1 else f"the first {measured} items"
    return _interval(expected, to_come * (1 - 1 / factor), to_come * (factor - 1), spent, basis)


def _factor(sample: Sequence[float], rest: int) -> float:
    """Return by what factor the mean of `rest` further values may differ from that of a sample."""
    size = len(sample)
    mean = sum(sample) / size
    if not rest or mean <= 0:
        return 1.0
    if size == 1:
        return math.exp(_WIDEST)
    normal = _spread(sample) / mean * math.sqrt(1 / size + 1 / rest)
    spread = _spread([math.log(max(value, _SHORTEST * mean)) for value in sample])
    skewed = math.sqrt(spread**2 / size + spread**4 / (2 * (size - 1)))
    return math.exp(min(_WIDEST, _t(size) * max(normal, skewed)))


def _interval(expected: float, below: float, above: float, spent: float, basis: str) -> Estimate:
    """Return an estimate, with what the model leaves out added to what is not known."""
    expected = max(expected, spent)
    low = expected - math.hypot(below, MODEL_ERROR * expected)
    high = expected + math.hypot(above, MODEL_ERROR * expected)
    return Estimate(expected, max(spent, low), high, basis)


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation of what `values` are a sample of."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))


def _t(samples: int) -> float:
    if samples < 2:
        return _NORMAL
    return _T[samples - 2] if samples - 2 < len(_T) else _NORMAL
