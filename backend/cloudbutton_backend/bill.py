"""What one job costs: charges as they come, the estimate made at its start, what is expected now."""

from __future__ import annotations

from typing import Final

from cloudbutton_backend.backends.protocol import Charged, Limits
from cloudbutton_backend.cost.estimate import Call, Run, from_calls, from_history
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.jobs import Estimate, JobState
from cloudbutton_backend.journal import Journal

_SAMPLES: Final = 8
"""Charged calls that an estimate rests on, unless the first wave is of another size."""


_LOOKED_AT: Final = 200
"""Jobs of the journal among which earlier runs of the same code are looked for."""


def estimate_from_journal(
    journal: Journal, digest: str, backend: str, items: int
) -> Estimate | None:
    """Return what so many items cost, by earlier runs of the same code on the same backend."""
    from cloudbutton_backend.journal import JournalReader

    try:
        jobs = JournalReader(journal.home).jobs(_LOOKED_AT, state=JobState.DONE)
    except JournalError:
        return None  # the job matters more than what is said about it
    same = (job for job in jobs if job.code_digest == digest and job.backend == backend)
    return from_history([Run(job.done, job.spend) for job in same], items)


class Bill:
    """The money side of one job on a backend whose calls have a price. Used on the driver's thread.

    Attributes
    ----------
    spend : float
        Dollars so far; a call whose charge never came counts for the most it can have cost.
    estimate : Estimate or None
        Made once: from earlier runs before the job began, or else from its first calls.
    """

    def __init__(
        self,
        job_id: str,
        journal: Journal,
        limits: Limits,
        workers: int | None,
        estimate: Estimate | None,
    ) -> None:
        assert limits.rate is not None
        self.spend = 0.0
        self.estimate = estimate
        self._job_id = job_id
        self._journal = journal
        self._rate = limits.rate
        self._workers = workers or limits.workers
        self._batch_seconds = limits.batch_seconds
        self._wanted = limits.first_wave or _SAMPLES
        self._charged = 0.0
        self._items = 0
        self._prices: dict[int, Charged] = {}
        """Charges whose results have not come yet."""
        self._work: dict[int, tuple[int, float]] = {}
        """Items of calls and the seconds that they took, of those not charged yet."""
        self._calls: list[Call] = []

    def charge(self, charged: Charged) -> None:
        """A call has its price."""
        self._charged += charged.cost
        items, work = self._work.pop(charged.batch, (0, 0.0))
        if items:
            self._note(items, work, charged)
        else:
            self._prices[charged.batch] = charged

    def work(self, batch: int, items: int, seconds: float) -> float:
        """Items of a call have run; return what of its price has not been told yet."""
        self._items += items
        charged = self._prices.pop(batch, None)
        before = self._work.pop(batch, (0, 0.0))
        items, seconds = before[0] + items, before[1] + seconds
        if charged is None:
            self._work[batch] = items, seconds
            return 0.0
        self._note(items, seconds, charged)
        return charged.cost

    def price_of_lost(self, batch: int) -> float:
        """Return what a call cost that brought nothing."""
        charged = self._prices.pop(batch, None)
        return 0.0 if charged is None else charged.cost

    def _note(self, items: int, work: float, charged: Charged) -> None:
        if self.estimate is None and len(self._calls) < self._wanted:
            self._calls.append(Call(items, work, charged.seconds))

    def judge(self, total: int | None) -> None:
        """Make the estimate, once enough calls have been charged; there will be no other."""
        if self.estimate is not None or total is None:
            return
        if len(self._calls) < min(self._wanted, max(1, total // 2)):
            return
        self.estimate = from_calls(
            self._calls,
            total,
            self._rate,
            workers=self._workers,
            batch_seconds=self._batch_seconds,
            spent=self._charged,
        )
        self._calls.clear()
        if self.estimate is not None:
            self._journal.update_job(
                self._job_id,
                estimate=self.estimate.expected,
                estimate_low=self.estimate.low,
                estimate_high=self.estimate.high,
            )

    def expected(self, total: int | None, done: int) -> float | None:
        """Return what the job will have cost in the end, as far as can be told.

        At first that is the estimate; by and by, what its items have cost so far counts more.
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
