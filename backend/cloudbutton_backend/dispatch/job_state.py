"""The dispatcher's state of one job: which items wait, run, and have ended."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.dispatch.batching import BatchSizer
from cloudbutton_backend.dispatch.job_budget import JobBudget
from cloudbutton_backend.job_model import JobState

PENDING: Final = 0
DONE: Final = 1
FAILED: Final = 2


@dataclass(frozen=True, kw_only=True)
class DispatchPlan:
    """The plan of a job for the dispatcher, known from the start."""

    job_id: str
    n_items: int | None
    """None while the end of the items is not known."""
    workers: int | None = None
    retries: int = 0
    stop_on_error: bool = True
    backup: bool = True
    budget: float | None = None
    """Dollars that it may spend, where calls have a price."""
    at_once: float | None = None
    """For a job that shall go on without us: all of it is sent as soon as it is known how long items
    take, in batches of at most this many seconds of work."""
    by_day: bool = False
    """Whether it may spend only what it is given of a day's budget, and so has to ask."""
    spent: float = 0.0
    """Dollars of that which it had spent before, in another process."""
    done: tuple[tuple[int, int], ...] = ()
    """Ranges ``[first, stop)`` of items that have their results already, and are never sent: disjoint,
    and only where the number of items is known."""
    lacks_items: bool = False
    """Whether items of it cannot be had: it is not done when all others are."""
    batches_after: int = 0
    """Numbers of batches up to this one belong to another process, which ran the job before."""


@dataclass(slots=True)
class InFlightBatch:
    """A batch that a worker holds."""

    id: int
    job_id: str
    worker: str
    next: int
    """First item without a result yet."""
    stop: int
    erred: bool = False
    """Whether an item of it failed, after which a worker may leave the rest."""
    twin: int = 0
    """The flight that carries the same items, 0 if none does or did."""
    lease: float = math.inf
    """Seconds after which its call has to end."""


class JobProgress:
    """The items of one job. Items are consecutive integers; spans are half-open.

    Parameters
    ----------
    job_budget
        What it may spend; None where work is free.
    wave
        Workers it may have until its first results are there; None for all of them.
    """

    def __init__(
        self,
        plan: DispatchPlan,
        batch_seconds: float,
        job_budget: JobBudget | None = None,
        wave: int | None = None,
    ) -> None:
        self.plan = plan
        self.job_budget = job_budget
        self.wave = wave
        self.state = JobState.RUNNING
        self.lacks_items = plan.lacks_items
        self.is_broken = False
        """Whether it is stopped because it cannot go on, rather than because nobody wants it."""
        self.sizer = BatchSizer(batch_seconds, plan.at_once)
        self.ready = plan.n_items or 0
        """Items that can be sent: all below this one are available."""
        self.ended = plan.n_items is not None
        """Whether `ready` is the number of all items."""
        self.fresh = 0
        """First item that was never sent."""
        self.horizon: int | None = None
        """Items from here on are not wanted: an earlier one failed."""
        self.marks = bytearray(self.ready)
        self.n_done = 0
        self.n_failed = 0
        self.retried = 0
        self.attempts: dict[int, int] = {}
        self.losses: dict[int, int] = {}
        self.grown: dict[int, float] = {}
        """The lease that an item should have, after shorter ones ended it."""
        self.flights: dict[int, InFlightBatch] = {}
        self.holders: dict[str, int] = {}
        """Workers that hold items, and how many batches each."""
        self.n_running = 0
        """Items that workers hold."""
        self._again: list[tuple[int, int, int]] = []
        self._n_again = 0
        self._later: list[tuple[float, int, int, int]] = []
        self._leave_out(plan.done)

    # -- what can be sent

    def _leave_out(self, done: Iterable[tuple[int, int]]) -> None:
        """Note the items that have results from the start; what lies between them is queued."""
        for first, stop in done:
            if not 0 <= first < stop or not self.mark_done(first, stop - first):
                raise ValueError(f"not items, or twice the same: [{first}, {stop}) of {self.ready}")
            self.fresh = max(self.fresh, stop)
        self.requeue(0, self.fresh)

    def extend(self, ready: int, ended: bool) -> None:
        """Note that the items below `ready` are available."""
        if ready > len(self.marks):
            self.marks.extend(bytes(ready - len(self.marks)))
        self.ready = max(self.ready, ready)
        self.ended = self.ended or ended

    def requeue(self, first: int, stop: int, most: int = 0) -> None:
        """Queue the items ``[first, stop)`` that have no result again, `most` at a time."""
        run = first
        for index in range(first, stop + 1):
            if index == stop or self.marks[index] != PENDING:
                if run < index:
                    heapq.heappush(self._again, (run, index, most))
                    self._n_again += index - run
                run = index + 1

    def requeue_later(self, when: float, first: int, stop: int, most: int) -> None:
        heapq.heappush(self._later, (when, first, stop, most))

    def wake(self, now: float) -> None:
        """Queue the items whose delay is over."""
        while self._later and self._later[0][0] <= now:
            _, first, stop, most = heapq.heappop(self._later)
            self.requeue(first, stop, most)

    def next_wake(self) -> float | None:
        return self._later[0][0] if self._later else None

    def limit(self) -> int:
        return self.ready if self.horizon is None else min(self.ready, self.horizon)

    def has_work(self) -> bool:
        """Whether something could be sent now."""
        if self.state is not JobState.RUNNING:
            return False
        if self.job_budget is not None and (self.job_budget.is_blocked or self.job_budget.is_empty):
            return False
        self._drop_unwanted()
        return bool(self._again) or self.fresh < self.limit()

    def _drop_unwanted(self) -> None:
        """Forget what waits behind a failed item, and what another copy has brought by now."""
        again = self._again
        while again:
            first, stop, most = again[0]
            fresh = self.marks.find(PENDING, first, stop)
            if fresh < 0 or (self.horizon is not None and first >= self.horizon):
                heapq.heappop(again)
                self._n_again -= stop - first
            elif fresh > first:
                heapq.heapreplace(again, (fresh, stop, most))
                self._n_again -= fresh - first
            else:
                return

    def waiting(self) -> int:
        """Items that wait to be sent."""
        return max(0, self.limit() - self.fresh) + self._n_again

    def peek(self, workers: int) -> tuple[int, int]:
        """Return the next span to send; `has_work` must hold."""
        left = self.waiting() if self.ended else None
        size = self.sizer.size(left, workers)
        self._drop_unwanted()
        if self._again:
            first, stop, most = self._again[0]
            cut = min(stop, first + (min(most, size) if most else size))
            if self.horizon is not None:
                cut = min(cut, max(first + 1, self.horizon))
            return first, cut
        return self.fresh, min(self.limit(), self.fresh + size)

    def take(self, first: int, cut: int) -> None:
        """Take a span that `peek` returned, or its beginning, out of what waits."""
        if not self._again:
            self.fresh = cut
            return
        _, stop, most = heapq.heappop(self._again)
        if cut < stop:
            heapq.heappush(self._again, (cut, stop, most))
        self._n_again -= cut - first

    # -- what is on its way

    def hold(self, flight: InFlightBatch) -> None:
        """A worker is given a batch."""
        self.flights[flight.id] = flight
        self.n_running += flight.stop - flight.next
        self.holders[flight.worker] = self.holders.get(flight.worker, 0) + 1

    def move(self, flight: InFlightBatch, first: int, stop: int) -> None:
        """A batch has come as far as item `first`, or is to end before `stop`."""
        self.n_running += (stop - first) - (flight.stop - flight.next)
        flight.next, flight.stop = first, stop

    def land(self, flight: InFlightBatch) -> None:
        """A worker no longer holds a batch."""
        del self.flights[flight.id]
        self.n_running -= flight.stop - flight.next
        if self.job_budget is not None:
            self.job_budget.close(flight.id)
        left = self.holders.pop(flight.worker) - 1
        if left:
            self.holders[flight.worker] = left

    def share(self, workers: int) -> int:
        """Return how many of `workers` this job may use."""
        caps = (workers, self.plan.workers, self.wave)
        return min(cap for cap in caps if cap is not None)

    def is_full(self) -> bool:
        """Whether it has as many workers as it may."""
        held = len(self.holders)
        if self.wave is not None and held >= self.wave:
            return True
        return self.plan.workers is not None and held >= self.plan.workers

    # -- what has come back

    def mark(self, index: int, mark: int) -> bool:
        """Note an item's end; return False if it had ended before."""
        if self.marks[index] != PENDING:
            return False
        self.marks[index] = mark
        if mark == DONE:
            self.n_done += 1
        else:
            self.n_failed += 1
        return True

    def mark_done(self, first: int, count: int) -> bool:
        """Note the good end of many items at once; return False if one had ended before."""
        if self.marks.count(PENDING, first, first + count) != count:
            return False
        self.marks[first : first + count] = bytes([DONE]) * count
        self.n_done += count
        return True

    def reopen(self) -> None:
        """Make every item without a result pending again."""
        self.horizon = None
        self.n_failed = 0
        self.drop_waiting()
        self.attempts.clear()
        self.losses.clear()
        self.grown.clear()
        # The source was closed when the job ended: what it had not given by then never comes.
        self.lacks_items, self.ended = self.lacks_items or not self.ended, True
        self.is_broken = False
        self.marks = self.marks.replace(bytes([FAILED]), bytes([PENDING]))
        self.requeue(0, self.fresh)
        self.state = JobState.RUNNING

    def drop_waiting(self) -> None:
        """Send nothing of what waited to be repeated."""
        self._again.clear()
        self._later.clear()
        self._n_again = 0

    def last_step(self) -> str:
        """Return the step of its life cycle by which it ends, being over."""
        if self.state is JobState.CANCELLING:
            return "fail" if self.is_broken else "stopped"
        return "fail" if self.n_failed or self.lacks_items else "finish"

    def is_over(self) -> bool:
        """Whether nothing is running, nothing waits and nothing can come."""
        if self.flights:
            return False
        if self.state is JobState.CANCELLING:
            return True
        if self.horizon is None:
            return self.ended and self.n_done + self.n_failed == self.ready
        return self.marks.find(PENDING, 0, min(self.horizon, self.ready)) < 0
