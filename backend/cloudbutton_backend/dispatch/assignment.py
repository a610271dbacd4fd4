"""Assign batches to workers with room, and move work from busy workers to idle ones. Pure decisions."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.actions import Action, Revoke, Submit
from cloudbutton_backend.dispatch.job_budget import HEADROOM, fitting, needed
from cloudbutton_backend.dispatch.job_state import InFlightBatch, JobProgress
from cloudbutton_backend.dispatch.worker_set import WorkerSet, WorkerSlots
from cloudbutton_backend.job_model import JobState

REBALANCE_SECONDS: Final = 0.005
"""Work waiting behind a busy worker that is worth moving to an idle one."""
BACKUP_FACTOR: Final = 3.0
"""A batch is a straggler when it has taken this many times what its items take on average …"""
BACKUP_SECONDS: Final = 1.0
"""… and at least this long."""
LEAST_PAUSE: Final = 0.001
"""Seconds between checks of the same worker."""


class Patience:
    """The time that a worker may be silent before it counts as held up by an item.

    A worker that hands back even what it should have been running had not begun: the message was
    still on its way. Were that repeated, a batch would go round for ever, so that patience doubles
    each time until it exceeds what messages take.
    """

    def __init__(self) -> None:
        self.seconds = REBALANCE_SECONDS

    def too_short(self) -> None:
        """A worker had not even begun."""
        self.seconds *= 2

    def long_enough(self) -> None:
        """A worker had begun."""
        self.seconds = max(REBALANCE_SECONDS, 0.9 * self.seconds)


@dataclass(frozen=True, slots=True)
class StealItems:
    """Revoke what the worker has not begun, but for the next `keep` items."""

    keep: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Run a second copy of what the worker runs now."""


@dataclass(frozen=True, slots=True)
class CheckAgain:
    """Not worth it yet; check again at this time."""

    when: float


Advice = StealItems | Duplicate | CheckAgain | None


def advise(
    limits: Limits, patience: float, job: JobProgress, worker: WorkerSlots, now: float
) -> Advice:
    """Return how to relieve a worker that is busy with `job`; None if it needs no help as it is."""
    if worker.interrupted:
        return None
    mean = job.sizer.mean or 0.0
    unbegun = worker.unbegun()
    silence = now - worker.heard
    if not limits.can_revoke or unbegun <= 0:
        if not (limits.can_duplicate and job.plan.backup):
            return None
        return _duplicate(worker, mean, silence, now)
    late = silence > mean + patience
    # It should have begun what it just got; and it is relieved once, then again only if late.
    long = unbegun * mean > REBALANCE_SECONDS and silence > patience / 5 and not worker.draining
    if not late and not long:
        when = worker.heard + mean + 1.1 * patience
        if unbegun * mean > REBALANCE_SECONDS and not worker.draining:
            when = worker.heard + 0.22 * patience
        return CheckAgain(max(when, now + LEAST_PAUSE))
    # A worker that hangs keeps nothing, nor does one that hangs with what it was left before.
    stuck = worker.draining or silence > max(patience, 3 * mean * unbegun)
    return StealItems(0 if stuck else unbegun // 2)


def _duplicate(worker: WorkerSlots, mean: float, silence: float, now: float) -> Advice:
    flight = worker.first()
    if flight.twin or flight.next >= flight.stop:
        return None
    late = max(BACKUP_SECONDS, BACKUP_FACTOR * mean * (flight.stop - flight.next))
    if mean and silence >= late:
        return Duplicate()
    # What an item takes on average may turn out to be less: look again before long.
    pause = (
        max(BACKUP_SECONDS, min(late, 2 * silence)) if mean else max(BACKUP_SECONDS, 2 * silence)
    )
    return CheckAgain(max(worker.heard + pause, now + LEAST_PAUSE))


class Watchlist:
    """Times at which to check workers. An earlier time replaces a later one."""

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def add(self, name: str, when: float) -> None:
        """Schedule a check of a worker at this time, unless an earlier one is scheduled."""
        known = self._when.get(name)
        if known is None or when < known:
            self._when[name] = when
            heapq.heappush(self._heap, (when, name))

    def pop(self, now: float) -> str | None:
        """Pop a worker to check now."""
        when = self.first()
        if when is None or when > now:
            return None
        _, name = heapq.heappop(self._heap)
        del self._when[name]
        return name

    def first(self) -> float | None:
        """Return when to look next."""
        heap = self._heap
        while heap and self._when.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def clear(self) -> None:
        self._when.clear()
        self._heap.clear()


class Assignment:
    """The rules about handing out.

    Parameters
    ----------
    actions
        Where what is to be done is added.

    Attributes
    ----------
    live
        The jobs that have not ended.
    look_again
        When a worker may need relief, if nothing happens before.
    """

    def __init__(self, limits: Limits, worker_set: WorkerSet, actions: list[Action]) -> None:
        self._limits = limits
        self._worker_set = worker_set
        self._actions = actions
        self._batches = 0
        self._longest = math.inf if limits.longest_call is None else limits.longest_call
        self.live: dict[str, JobProgress] = {}
        self._watch: dict[str, Watchlist] = {}
        """For each live job, its workers that may need help."""
        self.patience = Patience()
        self.look_again: float | None = None

    def admit(self, job: JobProgress, batches_after: int = 0) -> None:
        """A job begins, or begins again. No batch has a number up to `batches_after` from now on."""
        self._batches = max(self._batches, batches_after)
        self.live[job.plan.job_id] = job
        self._watch[job.plan.job_id] = Watchlist()

    def dismiss(self, job: JobProgress) -> None:
        """A job has ended."""
        self.live.pop(job.plan.job_id, None)
        self._watch.pop(job.plan.job_id, None)

    def assign(self, now: float) -> None:
        """Give work to every worker that has room, one batch each in turn."""
        working = [job for job in self.live.values() if job.has_work()]
        # Idle workers work for no job yet, so all of them are alike: one after the other
        # is asked for, so that no event looks at ten thousand.
        while working and self._worker_set.n_idle() and not all(job.is_full() for job in working):
            worker = self._worker_set.any_idle()
            job = _choose(working, worker)
            assert job is not None
            self._give(job, worker, working, now)
        for load in range(1, self._limits.queue_depth):
            working = [job for job in working if job.sizer.is_quick()]
            for worker in self._worker_set.with_room(working, load):
                job = _choose(working, worker)
                if job is not None:
                    self._give(job, worker, working, now)
                if not working:
                    return

    def _give(
        self, job: JobProgress, worker: WorkerSlots, working: list[JobProgress], now: float
    ) -> None:
        """Give a worker a job's next batch, if it can be paid for; drop jobs without work."""
        share = job.share(len(self._worker_set))
        first, stop = job.peek(share)
        lease: float | None = self._longest
        if job.job_budget is not None:
            lease, stop = self._lease(job, first, stop, share)
        if lease is not None:
            job.take(first, stop)
            self._fly(job, worker, first, stop, lease, now)
        if not job.has_work():
            working.remove(job)

    def _lease(
        self, job: JobProgress, first: int, stop: int, share: int
    ) -> tuple[float | None, int]:
        """Return for how long a call with the items ``[first, stop)`` can be paid, and where it
        should end before its lease ends it.
        """
        assert job.job_budget is not None
        mean, slowest = job.sizer.mean, job.sizer.slowest
        share = min(share, job.waiting() + job.n_running)
        # Where money is short, short calls let more workers share it.
        stop = first + fitting(stop - first, job.job_budget.fair(share), mean, HEADROOM)
        need, least = needed(stop - first, mean, slowest, job.grown.get(first, 0.0))
        lease = job.job_budget.offer(need, least, share)
        if lease is not None:
            stop = first + fitting(stop - first, lease, mean)
        return lease, stop

    def _fly(
        self,
        job: JobProgress,
        worker: WorkerSlots,
        first: int,
        stop: int,
        lease: float,
        now: float,
        twin: int = 0,
    ) -> InFlightBatch:
        self._batches += 1
        job_id = job.plan.job_id
        flight = InFlightBatch(
            self._batches, job_id, worker.name, first, stop, twin=twin, lease=lease
        )
        self._worker_set.hold(worker, flight, now)
        job.hold(flight)
        if job.job_budget is not None:
            job.job_budget.commit(flight.id, lease)
        shown = lease if math.isfinite(lease) else None
        self._actions.append(Submit(worker.name, flight.id, job_id, first, stop - first, shown))
        self.check_progress(worker, now)
        return flight

    def check_progress(self, worker: WorkerSlots, now: float) -> None:
        """Check a worker whose state changed, as soon as another one is idle."""
        if worker.flights and (self._limits.can_revoke or self._limits.can_duplicate):
            watch = self._watch.get(worker.first().job_id)
            if watch is not None:
                watch.add(worker.name, now)

    def relieve(self, now: float) -> None:
        """Move items from busy workers to idle ones."""
        self.look_again = None
        for job_id, watch in self._watch.items():
            job = self.live[job_id]
            while self._n_spare() > 0 and job.state is JobState.RUNNING:
                name = watch.pop(now)
                if name is None:
                    self._look_at(watch.first())
                    break
                worker = self._worker_set.get(name)
                if worker is None or not worker.flights or worker.first().job_id != job_id:
                    continue
                held = {self.live[flight.job_id] for flight in worker.flights.values()}
                if all(each.is_full() for each in held):  # nobody else may do any of it, for now
                    watch.add(name, now + BACKUP_SECONDS)
                else:
                    self._help(job, worker, now)

    def _look_at(self, when: float | None) -> None:
        if when is not None and (self.look_again is None or when < self.look_again):
            self.look_again = when

    def _n_spare(self) -> int:
        """Idle workers that have not been promised items which another one is to hand back."""
        return self._worker_set.n_idle() - len(self._worker_set.asked)

    def _help(self, job: JobProgress, worker: WorkerSlots, now: float) -> None:
        """Relieve a worker if that is worth it, or return when it may be."""
        if worker.name in self._worker_set.asked:
            return
        advice = advise(self._limits, self.patience.seconds, job, worker, now)
        if isinstance(advice, StealItems):
            self._worker_set.drain(worker)
            self._worker_set.asked.add(worker.name)
            self._actions.append(Revoke(worker.name, advice.keep))
        elif isinstance(advice, Duplicate):
            flight = worker.first()
            if job.job_budget is not None and not job.job_budget.affords_copy(flight.lease):
                # So far, its cost is needed for items that no worker has begun.
                self._watch[job.plan.job_id].add(worker.name, now + BACKUP_SECONDS)
                return
            other = self._worker_set.any_idle()
            copy = self._fly(
                job, other, flight.next, flight.stop, flight.lease, now, twin=flight.id
            )
            flight.twin = copy.id
        elif isinstance(advice, CheckAgain):
            self._watch[job.plan.job_id].add(worker.name, advice.when)


def _choose(working: list[JobProgress], worker: WorkerSlots) -> JobProgress | None:
    """Return the job with the fewest workers that may have this one too."""
    best: JobProgress | None = None
    for job in working:
        if job.is_full() and worker.name not in job.holders:
            continue
        if best is None or len(job.holders) < len(best.holders):
            best = job
    return best
