"""Predicts the time and money that items take on a backend, from samples of durations. Pure arithmetic.

::

    billed = ( work ÷ lanes  +  starts × a start  +  (calls − starts) × a warm call ) , each rounded up
    money  = billed × price of a second  +  calls × price of a call
    time   = wait  +  a start, the first wave  +  work ÷ (workers × lanes), no less than the longest item

What is expected follows from the sample's mean. For the interval, every draw takes its own way through this,
with a pace, a start and a warm call of its own where those are not known.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.cost.duration_samples import Sample, Samples, expectation
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.job_model import BackendIdentity, Expectation

MODEL_SPREAD: Final = 0.08
"""Of the logarithm of what comes over what the model says, at best: 13 % either way for nine of ten."""
# How the dispatcher sizes batches: `dispatch.batching` has these from here.
GROWTH: Final = 4
"""A batch is at most this many times as long as the longest before it."""
TAIL_SHARE: Final = 2
"""Towards the end, one batch is at most 1/(TAIL_SHARE × workers) of what is left …"""
TAIL_SECONDS: Final = 0.001
"""… but worth at least this much work."""
MAX_ITEMS: Final = 65_536
FLUSH_SECONDS: Final = 0.05
"""After which a worker sends what has finished, though its batch has not: as `worker.runner` has it."""

_MORE_STARTS: Final = 0.1
"""Of the environments, on average."""
_UNEVEN: Final = 0.8
"""By how much of their spread the lanes of a call differ in the end, about."""
_FINE: Final = 32
"""Items in a batch from which on one more or less does not matter."""


@dataclass(frozen=True, slots=True)
class UncertainValue:
    """A positive figure, log-normally distributed."""

    median: float
    spread: float = 0.0
    """Standard deviation of the logarithm."""

    def sample(self, chance: random.Random | None) -> float:
        """Return what it may turn out to be; without chance, its median."""
        if chance is None or not self.spread:
            return self.median
        return self.median * math.exp(self.spread * chance.gauss(0.0, 1.0))


NOTHING: Final = UncertainValue(0.0)
AS_MEASURED: Final = UncertainValue(1.0)
_MODEL: Final = UncertainValue(1.0, MODEL_SPREAD)


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """The properties of a backend that matter for time and money. Times are seconds."""

    backend: str
    workers: int
    emulated: bool = False
    """Whether the backend is emulated, so that its jobs cost nothing."""
    memory: int | None = None
    """MiB of each, where that is chosen."""
    rate: Rate | None = None
    """What calls usually cost; None where work is free."""
    batch_seconds: float = 0.05
    first_wave: int | None = None
    lanes: int = 1
    """Items that one worker runs at the same time, where a call has several."""
    pace: UncertainValue = AS_MEASURED
    """What an item takes there for each second that it took where it was measured."""
    start: UncertainValue = NOTHING
    """What a call takes on top that begins a new environment."""
    may_be_warm: bool = False
    """Whether environments may be there already, from another job, with all that a start loads."""
    warm: UncertainValue = NOTHING
    """What any other call takes on top."""
    wait: UncertainValue = NOTHING
    """Until the first call begins."""
    burst: int | None = None
    """Environments that come at once, None for all of them; …"""
    per_second: float = math.inf
    """… and then this many each second."""
    is_roomy: bool = True
    """Whether its memory suffices by what was measured, with headroom."""
    notes: tuple[str, ...] = ()
    """For the user, a line each: why it may not be had, or may not be as said."""

    @property
    def runs_on(self) -> BackendIdentity:
        return BackendIdentity(self.backend, self.emulated)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted time and cost of a job."""

    seconds: Expectation
    dollars: Expectation


def predict(
    samples: Samples,
    items: int,
    terms: CostModel,
    *,
    started: int = 0,
    spent: float = 0.0,
    elapsed: float = 0.0,
    seed: int = 0,
) -> Prediction:
    """Return what `items` take and cost.

    Parameters
    ----------
    samples
        How the items may turn out, see `duration_samples.samples_of`.
    started
        Environments that are up already.
    spent, elapsed
        Dollars and seconds that are gone already, on top.
    """
    chance = random.Random(seed)
    middle = _outcome(samples.middle, items, terms, started, None)
    outcomes = [_outcome(way, items, terms, started, chance) for way in samples.draws]
    return Prediction(
        expectation(elapsed + middle[0], (elapsed + seconds for seconds, _ in outcomes)),
        expectation(spent + middle[1], (spent + dollars for _, dollars in outcomes)),
    )


def _outcome(
    way: Sample, items: int, terms: CostModel, started: int, chance: random.Random | None
) -> tuple[float, float]:
    """Return seconds and dollars of one way in which it may go."""
    pace = terms.pace.sample(chance)
    start, warm = terms.start.sample(chance), terms.warm.sample(chance)
    if terms.may_be_warm:  # as likely as not
        start = _half(start, warm, chance)
    wait = terms.wait.sample(chance)
    off = _MODEL.sample(chance)
    workers = max(1, min(terms.workers, items))
    mean = way.mean * pace
    calls = n_calls(
        items,
        mean,
        workers,
        terms.batch_seconds,
        first_wave=terms.first_wave,
        lanes=terms.lanes,
    )
    starts = max(0, min(workers, calls) - started) + _more_starts(min(workers, calls), chance)
    work = way.total(items) * pace
    busy = work * _alone(way, items, mean, workers, terms)
    begin = 0.0 if started else start
    seconds = wait + off * _makespan(way, items, pace, busy, terms, workers, calls, begin, warm)
    if terms.rate is None or not items:
        return seconds, 0.0
    rounding = calls * terms.rate.step / 2
    billed = (busy + starts * start + max(0.0, calls - starts) * warm) * off + rounding
    return seconds, terms.rate.per_second * billed + terms.rate.per_call * calls


def _makespan(
    way: Sample,
    items: int,
    pace: float,
    busy: float,
    terms: CostModel,
    workers: int,
    calls: int,
    start: float,
    warm: float,
) -> float:
    """Return how long it is from the first call to the last result."""
    if not items:
        return 0.0
    mean = way.mean * pace
    begin = start
    wave = min(workers, terms.first_wave or workers)
    if wave < workers:  # others start when the first results have come
        begin += mean + start
    late = 0.0
    if terms.burst is not None and workers > terms.burst:
        late = (workers - terms.burst) / terms.per_second
    # Those that come late have done half of what they could have by the time that all are there.
    rest = (busy + max(0, calls - workers) * warm) / workers + late / 2
    longest = min(way.longest(items) * pace, way.total(items) * pace)
    # The last worker to end has, on average, half an item more than its share.
    return begin + max(longest, rest + (0.0 if items <= workers else min(mean, longest) / 2))


def _half(start: float, warm: float, chance: random.Random | None) -> float:
    """Return either, or what is between them without chance."""
    if chance is None:
        return (start + warm) / 2
    return start if chance.random() < 0.5 else warm


def _more_starts(workers: int, chance: random.Random | None) -> float:
    """Return how many environments begin beyond one for each worker: one may not be free again in time,
    or be taken away.
    """
    return 0.0 if chance is None else _MORE_STARTS * workers * chance.expovariate(1.0)


def _alone(way: Sample, items: int, mean: float, workers: int, terms: CostModel) -> float:
    """Return the part of the items' time for which calls run: less than all of it where several items
    of a call run at the same time.
    """
    size = items_per_call(mean, terms.batch_seconds, terms.lanes)
    lanes = min(terms.lanes, size, items)
    if lanes < 2:
        return 1.0
    # The first items and the last ones have a call each.
    single = min(items, (terms.first_wave or workers) + TAIL_SHARE * workers) / items
    # A call is over with its last item, and the more they differ, the longer it waits for that one.
    differ = math.sqrt(math.expm1(min(way.spread, 1.5) ** 2))
    uneven = _UNEVEN * differ * (lanes - 1) / lanes / size
    return single + (1 - single) * min(1.0, 1 / lanes + uneven)


def items_per_call(mean: float, batch_seconds: float, lanes: int = 1) -> int:
    """Return how many items of this length a call has in the middle of a job."""
    most = batch_seconds / mean if mean > 0 else math.inf
    if mean > FLUSH_SECONDS or lanes > 1:
        # Results come one by one, and what comes at a time decides how fast batches grow.
        most = min(most, GROWTH)
    return max(1, math.floor(min(most, MAX_ITEMS)))


def n_calls(
    items: int,
    mean: float,
    workers: int,
    batch_seconds: float,
    *,
    first_wave: int | None = None,
    lanes: int = 1,
) -> int:
    """Return about how many calls `items` travel in, as the dispatcher sizes batches.

    Parameters
    ----------
    mean
        Seconds that an item takes.
    """
    if items <= 0:
        return 0
    workers = max(1, min(workers, items))
    full = items_per_call(mean, batch_seconds, lanes)
    share = TAIL_SHARE * workers
    calls = float(min(items, first_wave or workers, workers))
    left = items - calls
    size = 1
    while left > share * size and size * GROWTH < full:
        size *= GROWTH
        sent = min(workers, left / size)
        calls, left = calls + sent, left - sent * size
    bulk = max(0.0, left - share * full)
    calls, left = calls + bulk / full, left - bulk
    least = max(1, math.floor(min(TAIL_SECONDS / mean, full) if mean > 0 else full))
    size = min(full, math.ceil(left / share))
    if size > max(_FINE, least):  # what is left shrinks by the same part with each call
        stop = max(_FINE, least)
        calls, left = calls + share * math.log(size / stop), stop * share
        size = stop
    for fewer in range(size, least, -1):
        # While what is left is between `fewer` and one more for each share.
        if left > fewer * share:
            sent = left - fewer * share
            calls, left = calls + sent / fewer, left - sent
    return max(1, min(items, math.ceil(calls + left / least)))
