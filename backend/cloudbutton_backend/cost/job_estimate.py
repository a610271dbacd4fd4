"""Estimates a job's cost from earlier runs of the same code, or from its first calls. Pure arithmetic.

Earlier runs tell what an item cost with all that comes with it. First calls tell what items took, what
a call took on top that began a new environment (its start, imports), and what others took on top; the
rest of the job is then predicted by `cost.run_model`, with as much uncertainty as so few items leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from cloudbutton_backend.cost.duration_samples import samples_of
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.cost.run_model import NOTHING, CostModel, UncertainValue, predict
from cloudbutton_backend.job_model import Estimate, Expectation

MODEL_ERROR: Final = 0.12
"""Part of an estimate by which even a job that ran often, or is half done, may differ from it."""
ONE_RUN: Final = 0.3
"""The same where all that is known is the bill of one earlier run."""
WARM_SECONDS: Final = 0.02
"""What a call is billed beyond its items, at most, where its environment is warm and none was measured."""
_DRAWS: Final = 200
"""Enough for two digits; this is worked out while the job runs."""
_START_SPREAD, _WARM_SPREAD = 0.3, 0.5
"""Of the logarithms, of what comes on top: the next environment may be slower."""
_DRIFT: Final = 0.12
"""Of the logarithm of what items take later over what they took at first."""
_OTHERS, _NOTICEABLE = 3, 0.02
"""The least calls, and seconds, from which it shows that first ones took longer."""
_STILL_COLD: Final = 0.2
"""Part of the environments that start cold although the last run has only just ended."""
_COMPARABLE: Final = 3.0
"""Runs with up to this many times as many or as few items tell how long a run takes."""

#: The 95 % quantile of Student's t, by degrees of freedom from 1; beyond them, the normal one.
_T: Final = (
    6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81,
    1.80, 1.78, 1.77, 1.76, 1.75, 1.75, 1.74, 1.73, 1.73, 1.72,
)  # fmt: skip
_NORMAL: Final = 1.645


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A call that has been charged."""

    items: int
    work: float
    """Seconds that its items took."""
    billed: float
    """Seconds that it was charged for."""
    cost: float
    """Dollars that it was charged."""
    cold: bool = False
    """Whether it probably began a new environment: the first of its worker."""

    @property
    def each(self) -> float:
        """The mean duration of an item, in seconds."""
        return self.work / self.items

    def overhead(self, lanes: int) -> float:
        """Return the seconds that it was charged for beyond its items, `lanes` of which ran at a time."""
        return max(0.0, self.billed - self.work / max(1, min(lanes, self.items)))


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """An earlier job of the same code."""

    items: int
    spend: float
    seconds: float = 0.0
    """From its beginning to its end; 0 where that is not known."""
    starts: float = 0.0
    """Dollars of its spend that went into beginning environments, as far as known."""


def from_history(
    runs: Sequence[EarlierRun], items: int, *, is_warm: bool = False
) -> Estimate | None:
    """Return what `items` cost if each costs what it did before; None if nothing is known.

    Parameters
    ----------
    runs
        Earlier jobs that ended well, whatever their order.
    is_warm
        Whether the environments of the latest are probably still there.
    """
    runs = [run for run in runs if run.items > 0 and run.spend > 0]
    if not runs:
        return None
    each = [(run.spend - run.starts) / run.items for run in runs]
    mean = max(0.0, sum(run.spend - run.starts for run in runs)) / sum(run.items for run in runs)
    starts = max(run.starts for run in runs)
    part = _unsure(each, mean) if mean else ONE_RUN
    basis = "1 earlier run" if len(runs) == 1 else f"{len(runs)} earlier runs"
    work = items * mean
    off = work * math.hypot(part, MODEL_ERROR)
    expected = work + starts * (_STILL_COLD if is_warm else 1.0)
    low = max(0.0, work - off)
    high = work + off + starts * (1 + ONE_RUN)
    return Estimate(expected, low, high, basis, seconds_from_history(runs, items))


def seconds_from_history(runs: Sequence[EarlierRun], items: int) -> Expectation | None:
    """Return how long `items` take by runs of about as many; None if there was none."""
    alike = [
        run.seconds * items / run.items
        for run in runs
        if run.seconds > 0 and run.items > 0
        if 1 / _COMPARABLE <= items / run.items <= _COMPARABLE
    ]
    if not alike:
        return None
    mean = sum(alike) / len(alike)
    off = mean * math.hypot(_unsure(alike, mean), MODEL_ERROR)
    return Expectation(mean, max(0.0, mean - off), mean + off)


def _unsure(values: Sequence[float], mean: float) -> float:
    """Return the part of `mean` by which the next value may differ, in nine of ten cases."""
    if len(values) == 1:
        return ONE_RUN
    # The next run's own scatter is in it, too.
    return _t(len(values)) * _spread(values) * math.sqrt(1 + 1 / len(values)) / mean


def from_calls(
    calls: Sequence[MeasuredCall],
    items: int,
    rate: Rate,
    *,
    workers: int,
    batch_seconds: float,
    lanes: int = 1,
    spent: float = 0.0,
    elapsed: float = 0.0,
) -> Estimate | None:
    """Return what a job of `items` costs in all, judged by its first calls; None if there are none.

    Parameters
    ----------
    workers
        That it may have: each starts once.
    batch_seconds
        Work that goes into a call.
    lanes
        Items of a call that run at the same time.
    spent, elapsed
        What it has cost and taken so far, which is the least that it will.
    """
    calls = [call for call in calls if call.items]
    if not calls:
        return None
    calls, telling = _imports_apart(calls)
    measured = sum(call.items for call in calls)
    paid = sum(call.cost for call in calls)
    each = [call.each for call in telling]
    mean = sum(each) / len(each)
    # Calls of many items tell more than those of one.
    weighed = sum(call.work for call in telling) / sum(call.items for call in telling)
    # Not the rate's own price of a call, which is the most that it can be.
    overhead = sum(max(0.0, call.cost - rate.per_second * call.billed) for call in calls)
    start, warm = _overhead(calls, lanes)
    terms = CostModel(
        backend="",
        workers=workers,
        rate=replace(rate, per_call=overhead / len(calls)),
        batch_seconds=batch_seconds,
        lanes=lanes,
        pace=UncertainValue(weighed / mean if mean else 1.0, _DRIFT),
        start=UncertainValue(start, _START_SPREAD) if start else NOTHING,
        warm=UncertainValue(warm, _WARM_SPREAD) if warm else NOTHING,
    )
    found = predict(
        samples_of(each, _DRAWS),
        max(0, items - measured),
        terms,
        started=sum(call.cold for call in calls),
        spent=max(spent, paid),
        elapsed=elapsed,
    )
    basis = "the first item" if measured == 1 else f"the first {measured} items"
    money, off = found.dollars, MODEL_ERROR * found.dollars.expected
    # Second copies of stragglers, calls made again: what no first call tells of.
    low = max(spent, paid, money.expected - math.hypot(money.expected - money.low, off))
    high = money.expected + math.hypot(money.high - money.expected, off)
    return Estimate(money.expected, min(low, money.expected), high, basis, found.seconds)


def _overhead(calls: Sequence[MeasuredCall], lanes: int) -> tuple[float, float]:
    """Return the seconds that a call takes on top which begins an environment, and that any other does."""
    cold = [call.overhead(lanes) for call in calls if call.cold]
    warm = [call.overhead(lanes) for call in calls if not call.cold]
    start = sum(cold) / len(cold) if cold else 0.0
    if not warm:
        return start, min(WARM_SECONDS, start)
    # Where several items run at a time, the first call that has several begins processes for them.
    return start, min(warm) if lanes > 1 else sum(warm) / len(warm)


def _imports_apart(
    calls: Sequence[MeasuredCall],
) -> tuple[Sequence[MeasuredCall], Sequence[MeasuredCall]]:
    """Return calls with what first ones took longer than any other counted as their start, and those
    among them that tell what items take.

    An item that is the first of its process often imports what the others find there.
    """
    others = [call for call in calls if not call.cold]
    if len(others) < _OTHERS:
        return calls, calls
    ordered = sorted(call.each for call in others)
    usual, longest = ordered[len(ordered) // 2], ordered[-1]

    def is_late(call: MeasuredCall) -> bool:
        return call.cold and call.each > 2 * longest and call.each - longest > _NOTICEABLE

    counted = [replace(call, work=call.items * usual) if is_late(call) else call for call in calls]
    return counted, [call for call in calls if not is_late(call)]


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation of what `values` are a sample of."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))


def _t(samples: int) -> float:
    if samples < 2:
        return _NORMAL
    return _T[samples - 2] if samples - 2 < len(_T) else _NORMAL
