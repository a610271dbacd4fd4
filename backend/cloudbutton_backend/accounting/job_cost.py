"""Cost and duration of one job: its charges so far, its estimates, and what is expected now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cloudbutton_backend.accounting.daily_budget import DailyBudgetGrant
from cloudbutton_backend.backends.protocol import Charged, Limits, Results
from cloudbutton_backend.cost.duration_samples import samples_of
from cloudbutton_backend.cost.job_estimate import MeasuredCall, from_calls
from cloudbutton_backend.cost.run_model import CostModel, predict
from cloudbutton_backend.job_model import Estimate, JobRecord
from cloudbutton_backend.journal import Journal

_SAMPLES: Final = 8
"""Charged calls that an estimate rests on, unless the first wave is of another size."""
_ANYWAY: Final = 4
"""Times as many with which it is made though one of the first has not ended."""
_MOST_SAMPLES: Final = 1000
"""Calls that are looked at while the number of items, and so the estimate, is not known."""


def estimate_columns(estimate: Estimate) -> Mapping[str, Any]:
    """Return what the journal keeps of an estimate, by column."""
    seconds = estimate.seconds
    times: Mapping[str, Any] = {}
    if seconds is not None:
        times = {
            "estimate_seconds": seconds.expected,
            "estimate_seconds_low": seconds.low,
            "estimate_seconds_high": seconds.high,
        }
    return {
        "estimate": estimate.expected,
        "estimate_low": estimate.low,
        "estimate_high": estimate.high,
        "estimate_basis": estimate.basis,
        **times,
    }


@dataclass(slots=True)
class _Sample:
    """Measurements of one call so far."""

    items: int = 0
    seconds: float = 0.0
    """That the items took."""
    charged: Charged | None = None
    cold: bool = False
    """Whether it was the first of its worker, and so probably began an environment."""
    first: int = 0
    """Index of its first item."""


class JobCost:
    """The money side of one job on a backend whose calls have a price. Used on the driver's thread.

    Attributes
    ----------
    spend : float
        Dollars so far; a call whose charge never came counts for the most it can have cost.
    before : float
        Dollars that were charged before this process took the job over.
    estimate : Estimate or None
        Made once: from earlier runs before the job began, or else from its first calls.
    """

    def __init__(
        self, record: JobRecord, journal: Journal, limits: Limits, workers: int | None
    ) -> None:
        assert limits.rate is not None
        self.spend = self.before = 0.0
        self.estimate, memory = record.expected, record.worker_memory
        self._job_id = record.id
        self._journal = journal
        # The backend's is for its usual memory, and a second costs as many times as there is more of it.
        part = memory / limits.memory if memory and limits.memory else 1.0
        self._rate = replace(limits.rate, per_second=limits.rate.per_second * part)
        self._workers = workers or limits.workers
        self._batch_seconds = limits.batch_seconds
        self._lanes = max(1, memory // limits.lane) if memory and limits.lane else 1
        self._wanted = limits.first_wave or _SAMPLES
        self._charged = 0.0
        self._items = 0
        self._prices: dict[int, float] = {}
        """Of calls whose results have not come yet."""
        self._sample: dict[int, _Sample] = {}
        """The first calls, until the estimate is made."""
        self._workers_seen: set[str] = set()

    @property
    def at_most(self) -> bool:
        """Whether calls are counted for the most they can have cost, as their charge never came."""
        heard = self.before + self._charged
        return self.spend > heard and not math.isclose(self.spend, heard, abs_tol=1e-9)

    def charge(self, charged: Charged) -> None:
        """A call has its price."""
        self._charged += charged.cost
        self._prices[charged.batch] = charged.cost
        sample = self._sample_of(charged.batch)
        if sample is not None:
            sample.charged = charged

    def work(self, results: Results) -> float:
        """Items of a call have run; return what of its price has not been told yet."""
        self._items += results.count
        sample = self._sample_of(results.batch)
        if sample is not None:
            if results.worker not in self._workers_seen:
                self._workers_seen.add(results.worker)
                sample.cold = True
            sample.first = min(sample.first, results.first) if sample.items else results.first
            sample.items += results.count
            sample.seconds += results.meta.seconds  # waiting for a CPU is billed, too
        return self._prices.pop(results.batch, 0.0)

    def price_of_lost(self, batch: int) -> float:
        """Return what a call cost that brought nothing."""
        return self._prices.pop(batch, 0.0)

    def _sample_of(self, batch: int) -> _Sample | None:
        if self.estimate is not None:
            return None
        if batch not in self._sample and len(self._sample) < _MOST_SAMPLES:
            self._sample[batch] = _Sample()
        return self._sample.get(batch)

    def judge(self, total: int | None, elapsed: float = 0.0) -> None:
        """Make the estimate, once enough calls have ended; there will be no other.

        To be called when all that has come by now is known: a call's price comes before its last
        results, and with them. The job has been running for `elapsed` seconds.
        """
        if self.estimate is not None or total is None:
            return
        calls = self._first_calls(min(self._wanted, max(1, total // 2)))
        if calls is None:
            return
        self.estimate = from_calls(
            calls,
            total,
            self._rate,
            workers=self._workers,
            batch_seconds=self._batch_seconds,
            lanes=self._lanes,
            spent=self._charged,
            elapsed=elapsed,
        )
        self._sample.clear()
        if self.estimate is not None:
            self._journal.update_job(self._job_id, **estimate_columns(self.estimate))

    def _first_calls(self, wanted: int) -> list[MeasuredCall] | None:
        """Return the calls that an estimate can rest on; None while there are too few.

        Calls that ended first tell too little, as quick items end before slow ones: it takes all up to
        some item, or so many that it does not matter any more.
        """
        ended = sorted(
            (each for each in self._sample.values() if each.charged is not None and each.items),
            key=lambda each: each.first,
        )
        until = 0
        for number, each in enumerate(ended):
            if each.first > until and number < wanted:
                if len(ended) < _ANYWAY * wanted:
                    return None
                break
            until = each.first + each.items
        if len(ended) < wanted:
            return None
        return [
            MeasuredCall(
                each.items, each.seconds, each.charged.seconds, each.charged.cost, each.cold
            )
            for each in ended
            if each.charged is not None
        ]

    def expected(self, total: int | None, done: int) -> float | None:
        """Return the expected total cost of the job, as far as is known.

        At first that is the estimate; the more items have run, the more their cost counts.
        """
        if total is None or not total:
            return None
        if not self._items or not self._charged:
            return None if self.estimate is None else max(self.spend, self.estimate.expected)
        by_items = self._charged / self._items * total
        if self.estimate is None:
            return max(self.spend, by_items)
        part = min(1.0, done / total)
        return max(self.spend, part * by_items + (1 - part) * self.estimate.expected)


_AFTER: Final = 1.0
"""Seconds; a job that is over sooner needs no estimate, and should not have to pay for one."""
_LEAST: Final = 4
_MOST: Final = 32
"""Results that it rests on."""
_DRAWS: Final = 200


class EtaEstimate:
    """Estimates when a job without a price will end, from its first items. Used on the driver's thread.

    Made once, and kept to be compared with what came.
    """

    def __init__(self, job_id: str, journal: Journal, batch_seconds: float) -> None:
        self._job_id = job_id
        self._journal = journal
        self._batch_seconds = batch_seconds
        self._each: list[float] = []
        self._is_made = False

    def work(self, items: int, seconds: float) -> None:
        """Record the seconds of a worker's time that some items took."""
        if not self._is_made and len(self._each) < _MOST and items:
            self._each.append(seconds / items)

    def judge(self, total: int | None, finished: int, workers: int, elapsed: float) -> None:
        """Record when the job will end, once there is something to tell it by."""
        if self._is_made or elapsed < _AFTER or total is None or len(self._each) < _LEAST:
            return
        self._is_made = True
        terms = CostModel(backend="", workers=max(1, workers), batch_seconds=self._batch_seconds)
        left = max(0, total - finished)
        found = predict(samples_of(self._each, _DRAWS), left, terms, elapsed=elapsed).seconds
        self._journal.update_job(
            self._job_id,
            estimate_seconds=found.expected,
            estimate_seconds_low=found.low,
            estimate_seconds_high=found.high,
            estimate_basis=f"its first {finished} items",
        )


@dataclass(frozen=True)
class JobAccounting:
    """Tracks the money and the time of one job."""

    cost: JobCost | None = None
    """None where work is free."""
    eta: EtaEstimate | None = None
    daily_grant: DailyBudgetGrant | None = None
    """None where no daily budget is set, or the job costs nothing."""
