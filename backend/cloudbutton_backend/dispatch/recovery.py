"""Decides what is retried after a failure, what has failed for good, and which workers are stopped."""

from __future__ import annotations

import random
from typing import Final

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.actions import Action, FailItem, Interrupt
from cloudbutton_backend.dispatch.job_budget import GROWTH
from cloudbutton_backend.dispatch.job_state import FAILED, PENDING, InFlightBatch, JobProgress
from cloudbutton_backend.dispatch.worker_set import WorkerSet
from cloudbutton_backend.job_model import JobState

SEARCH_PARTS: Final = 8
"""A batch whose worker died of an unknown item is tried again in this many parts."""


class Recovery:
    """The rules about failures.

    Parameters
    ----------
    actions
        Where what is to be done is added.
    seed
        Of the jitter in delays.
    """

    def __init__(
        self, limits: Limits, worker_set: WorkerSet, actions: list[Action], seed: int
    ) -> None:
        self._limits = limits
        self._worker_set = worker_set
        self._actions = actions
        self._random = random.Random(seed)

    def give_back(
        self, job: JobProgress, flight: InFlightBatch, first: int, stop: int, most: int = 0
    ) -> None:
        """Queue again what a batch leaves without a result, if that is still wanted."""
        if job.state is not JobState.RUNNING:
            return
        twin = job.flights.get(flight.twin)
        if twin is None:
            job.requeue(first, stop, most)
        else:  # what the other copy still carries is on its way
            job.requeue(first, min(stop, twin.next), most)
            job.requeue(max(first, twin.stop), stop, most)

    def search(self, job: JobProgress, flight: InFlightBatch) -> None:
        """One item of a batch did harm: find out which, in ever smaller batches."""
        part = max(1, (flight.stop - flight.next) // SEARCH_PARTS)
        self.give_back(job, flight, flight.next, flight.stop, part)

    def expire(self, job: JobProgress, flight: InFlightBatch, now: float) -> None:
        """A call ended with its lease: what it left is run again, its first item alone and for longer.

        That costs the item no attempt, unless no call may run longer than this one did.
        """
        index = flight.next
        longest = self._limits.longest_call
        if longest is not None and flight.lease >= longest:
            cause = f"it ran longer than a call may: {longest:g} s. Make the item smaller."
            self.blame(job, flight, index, "lost", cause, now)
        else:
            job.grown[index] = max(GROWTH * flight.lease, job.grown.get(index, 0.0))
            self.give_back(job, flight, index, index + 1, most=1)
        self.give_back(job, flight, index + 1, flight.stop)

    def tries_again(self, job: JobProgress, flight: InFlightBatch, index: int, kind: str) -> bool:
        """Count an attempt of the user's code; queue the item again if it has one left."""
        attempts = job.attempts.get(index, 0) + 1
        job.attempts[index] = attempts
        if kind != "exception" or attempts > job.plan.retries or job.state is not JobState.RUNNING:
            return False
        job.retried += 1
        self.give_back(job, flight, index, index + 1, most=1)
        return True

    def blame(
        self,
        job: JobProgress,
        flight: InFlightBatch,
        index: int,
        reason: str,
        cause: str,
        now: float,
    ) -> None:
        """An item took its worker down, or too long, or left nothing behind."""
        if job.state is not JobState.RUNNING or job.marks[index] != PENDING:
            return
        if reason == "timeout":
            if self.tries_again(job, flight, index, "exception"):
                return
            attempts, kind = job.attempts[index], "timeout"
        else:
            attempts, kind = job.losses.get(index, 0) + 1, "lost"
            job.losses[index] = attempts
            if attempts < self._limits.lost_attempts:
                job.retried += 1
                self._again_later(job, flight, index, attempts, now)
                return
        self._actions.append(FailItem(job.plan.job_id, index, kind, cause, attempts))
        self.fail(job, index)

    def _again_later(
        self, job: JobProgress, flight: InFlightBatch, index: int, attempts: int, now: float
    ) -> None:
        """Queue an item again after a delay that doubles, with jitter."""
        delay = self._limits.retry_delay * 2 ** (attempts - 1) * self._random.uniform(0.5, 1.5)
        if delay > 0 and flight.twin not in job.flights:
            job.requeue_later(now + delay, index, index + 1, 1)
        else:
            self.give_back(job, flight, index, index + 1, most=1)

    def fail(self, job: JobProgress, index: int) -> None:
        """An item has failed for good."""
        job.mark(index, FAILED)
        if not job.plan.stop_on_error:
            return
        if job.horizon is None or index < job.horizon - 1:
            job.horizon = index + 1
            self.interrupt(job, job.horizon)

    def interrupt(self, job: JobProgress, horizon: int) -> None:
        """Stop the workers that run nothing but items of `job` from `horizon` on."""
        running = [flight for flight in job.flights.values() if flight.next < flight.stop]
        wanted = {flight.worker for flight in running if flight.next < horizon}
        for name in dict.fromkeys(flight.worker for flight in running):
            if name not in wanted:
                self._stop_worker(name, job.plan.job_id)

    def _stop_worker(self, name: str, job_id: str) -> None:
        worker = self._worker_set.get(name)
        if worker is not None and job_id not in worker.interrupted:
            worker.interrupted.add(job_id)
            self._worker_set.drain(worker)
            self._actions.append(Interrupt(name, job_id))

    def stop_twin(self, job: JobProgress, flight: InFlightBatch) -> None:
        """Stop the other copy of a batch once all of its items have ended."""
        twin = job.flights.get(flight.twin)
        if twin is not None and job.marks.find(PENDING, twin.next, twin.stop) < 0:
            self._stop_worker(twin.worker, job.plan.job_id)
