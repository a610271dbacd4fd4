"""The dispatcher's decisions: events and the time go in, actions come out. No I/O, clock or thread.

The rules, each in one method:

* a batch is as long as `batching.Sizer` says; quick items are sent ahead by one batch (`_assign`);
* an idle worker gets what a busy one has not begun (`_rebalance`), or, where that does no
  harm, a second copy of a straggler;
* an item's first result counts, later ones are dropped (`_on_results`);
* the user's exceptions are tried again `retries` times; a lost worker costs an attempt only to the
  item that it was running, and an item that loses its worker too often fails alone (`_on_worker_down`);
* when an item fails in a job that stops on errors, the items before it are still finished, so that
  the error which surfaces is the one that the plain loop would have raised first (`_on_failure`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Event,
    Limits,
    Overdue,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.dispatch.actions import (
    Accept,
    Action,
    BatchLost,
    FailItem,
    Finish,
    Interrupt,
    Kill,
    Revoke,
    Submit,
)
from cloudbutton_backend.dispatch.job_state import DONE, FAILED, PENDING, Flight, JobProgress, Plan
from cloudbutton_backend.jobs import LIFE_CYCLE, JobState

REBALANCE_SECONDS: Final = 0.005
"""Work waiting behind a busy worker that is worth moving to an idle one."""
BACKUP_FACTOR: Final = 3.0
"""A batch is a straggler when it has taken this many times what its items take on average …"""
BACKUP_SECONDS: Final = 1.0
"""… and at least this long."""


@dataclass(slots=True)
class _Worker:
    flights: dict[int, Flight] = field(default_factory=dict)
    heard: float = 0.0
    """When it last got or did something."""
    draining: bool = False
    """Something was taken back from it: nothing new before it is through with the rest."""


class Machine:
    """The dispatcher of one backend, for all jobs on it.

    Parameters
    ----------
    limits
        What the backend can honour.
    seed
        Of the jitter in delays, so that a run can be repeated.
    """

    def __init__(self, limits: Limits, *, seed: int = 0) -> None:
        self.limits = limits
        self.jobs: dict[str, JobProgress] = {}
        self._workers: dict[str, _Worker] = {}
        self._actions: list[Action] = []
        self._batches = 0
        self._random = random.Random(seed)
        self._look_again: float | None = None

    # -- in

    def open(self, plan: Plan, now: float) -> None:
        """Begin a job."""
        self.jobs[plan.job_id] = JobProgress(plan, self.limits.batch_seconds)
        self._settle(now)

    def supply(self, job_id: str, ready: int, ended: bool, now: float) -> None:
        """The items below `ready` are at hand; there are no more if `ended`."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.extend(ready, ended)
            self._settle(now)

    def cancel(self, job_id: str, now: float) -> None:
        """Stop a job; what has ended is kept. Safe to repeat."""
        job = self.jobs.get(job_id)
        if job is None or job.state.is_final:
            return
        job.state = LIFE_CYCLE[job.state, "cancel"]
        job.drop_waiting()
        self._interrupt(job, 0)
        self._settle(now)

    def retry(self, job_id: str, now: float) -> None:
        """Run again what failed or never ran, in a job that has ended."""
        job = self.jobs[job_id]
        job.state = LIFE_CYCLE[job.state, "retry"]
        job.reopen()
        self._settle(now)

    def forget(self, job_id: str) -> None:
        """Drop a job that has ended."""
        job = self.jobs.get(job_id)
        if job is not None and job.state.is_final:
            del self.jobs[job_id]

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._settle(now)

    def handle(self, events: Iterable[Event], now: float) -> None:
        """Take in what the backend reports."""
        for event in events:
            if isinstance(event, Results):
                self._on_results(event, now)
            elif isinstance(event, BatchEnded):
                self._on_batch_ended(event, now)
            elif isinstance(event, Revoked):
                self._on_revoked(event)
            elif isinstance(event, WorkerUp):
                self._workers[event.worker] = _Worker(heard=now)
            elif isinstance(event, WorkerDown):
                self._on_worker_down(event, now)
            elif isinstance(event, Overdue):
                self._actions.append(Kill(event.worker, "timeout"))
        self._settle(now)

    # -- out

    def drain(self) -> list[Action]:
        """Return what is to be done, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    def next_wake(self) -> float | None:
        """Return when `tick` should be called at the latest."""
        times = [job.next_wake() for job in self.jobs.values()]
        times.append(self._look_again)
        return min((time for time in times if time is not None), default=None)

    def workers_of(self, job_id: str) -> int:
        """Return how many workers hold items of a job."""
        return len({flight.worker for flight in self.jobs[job_id].flights.values()})

    @property
    def n_workers(self) -> int:
        return len(self._workers)

    # -- rules

    def _flight(self, worker: str, batch: int) -> Flight | None:
        state = self._workers.get(worker)
        return state.flights.get(batch) if state else None

    def _on_results(self, event: Results, now: float) -> None:
        flight = self._flight(event.worker, event.batch)
        if flight is None:
            return  # a stale message of a batch that was given up
        self._workers[event.worker].heard = now
        job = self.jobs[flight.job_id]
        flight.next = event.first + event.count
        flight.since = now
        job.sizer.learn(event.count, event.meta.get("dt", 0.0))
        errors = event.meta.get("errors")
        if not errors and job.mark_done(event.first, event.count):
            self._actions.append(Accept(flight.job_id, event))
            self._stop_twins(job, flight)
            return
        errors = errors or {}
        skip = set()
        for offset in range(event.count):
            index = event.first + offset
            if job.marks[index] != PENDING:
                skip.add(index)
            elif offset not in errors:
                job.mark(index, DONE)
            elif self._tries_again(job, index, errors[offset].get("kind", "")):
                skip.add(index)
            else:
                job.mark(index, FAILED)
                self._on_failure(job, index)
        if len(skip) < event.count or errors:
            self._actions.append(Accept(flight.job_id, event, frozenset(skip)))
        self._stop_twins(job, flight)

    def _stop_twins(self, job: JobProgress, done: Flight) -> None:
        """Stop the other copy of a batch all of whose items have ended."""
        if not self.limits.can_duplicate:
            return
        for flight in list(job.flights.values()):
            left = job.marks.count(PENDING, flight.next, flight.stop)
            if (
                flight is not done
                and not left
                and flight.next < done.stop
                and done.next <= flight.stop
            ):
                self._workers[flight.worker].draining = True
                self._actions.append(Interrupt(flight.worker, job.plan.job_id))

    def _tries_again(self, job: JobProgress, index: int, kind: str) -> bool:
        """Count an attempt of the user's code; queue the item again if it has one left."""
        attempts = job.attempts.get(index, 0) + 1
        job.attempts[index] = attempts
        if kind != "exception" or attempts > job.plan.retries or job.state is not JobState.RUNNING:
            return False
        job.retried += 1
        job.requeue(index, index + 1, alone=True)
        return True

    def _on_failure(self, job: JobProgress, index: int) -> None:
        """An item has failed for good."""
        if not job.plan.stop_on_error:
            return
        if job.horizon is None or index < job.horizon - 1:
            job.horizon = index + 1
            self._interrupt(job, job.horizon)

    def _interrupt(self, job: JobProgress, horizon: int) -> None:
        """Stop the workers that run nothing but items of `job` from `horizon` on."""
        wanted = {f.worker for f in job.flights.values() if f.next < horizon}
        for worker in {f.worker for f in job.flights.values()} - wanted:
            self._workers[worker].draining = True
            self._actions.append(Interrupt(worker, job.plan.job_id))

    def _on_batch_ended(self, event: BatchEnded, now: float) -> None:
        flight = self._flight(event.worker, event.batch)
        if flight is None:
            return
        self._workers[event.worker].heard = now
        self._land(flight)
        self._return(flight, alone=event.unreadable)

    def _land(self, flight: Flight) -> None:
        """A worker no longer holds a batch."""
        worker = self._workers[flight.worker]
        del worker.flights[flight.id]
        if not worker.flights:
            worker.draining = False
        del self.jobs[flight.job_id].flights[flight.id]

    def _return(self, flight: Flight, alone: bool = False) -> None:
        """Queue again what a batch left without a result, if it is still wanted."""
        job = self.jobs[flight.job_id]
        if job.state is JobState.RUNNING:
            job.requeue(flight.next, flight.stop, alone)

    def _on_revoked(self, event: Revoked) -> None:
        flight = self._flight(event.worker, event.batch)
        if flight is None:
            return
        job = self.jobs[flight.job_id]
        if job.state is JobState.RUNNING:
            job.requeue(event.first, event.stop)
        flight.stop = min(flight.stop, event.first)

    def _on_worker_down(self, event: WorkerDown, now: float) -> None:
        worker = self._workers.pop(event.worker, None)
        if worker is None:
            return
        for flight in worker.flights.values():
            del self.jobs[flight.job_id].flights[flight.id]
        for flight in worker.flights.values():
            job = self.jobs[flight.job_id]
            if flight.next >= flight.stop or job.state is not JobState.RUNNING:
                continue
            if flight.id != event.batch:
                self._return(flight)
                continue
            left = flight.stop - flight.next
            self._actions.append(
                BatchLost(flight.job_id, flight.id, flight.worker, flight.next, left, event.reason)
            )
            culprit = event.item
            if culprit is None and left == 1:
                culprit = flight.next
            if culprit is None or not flight.next <= culprit < flight.stop:
                # Any of them may have done it: find out by running each alone.
                self._return(flight, alone=True)
                continue
            job.requeue(flight.next, culprit)
            job.requeue(culprit + 1, flight.stop)
            self._blame(job, culprit, event, now)

    def _blame(self, job: JobProgress, index: int, event: WorkerDown, now: float) -> None:
        """The worker went down while it ran this item."""
        if job.marks[index] != PENDING:
            return
        if event.reason == "killed":  # by us, for the sake of another job
            job.requeue(index, index + 1)
            return
        if event.reason == "timeout":
            if self._tries_again(job, index, "exception"):
                return
            attempts, kind = job.attempts[index], "timeout"
        else:
            attempts, kind = job.losses.get(index, 0) + 1, "lost"
            job.losses[index] = attempts
            if attempts < self.limits.lost_attempts:
                job.retried += 1
                self._again_later(job, index, attempts, now)
                return
        job.mark(index, FAILED)
        self._actions.append(FailItem(job.plan.job_id, index, kind, event.cause, attempts))
        self._on_failure(job, index)

    def _again_later(self, job: JobProgress, index: int, attempts: int, now: float) -> None:
        """Queue an item again after a delay that doubles, with jitter."""
        delay = self.limits.retry_delay * 2 ** (attempts - 1) * self._random.uniform(0.5, 1.5)
        if delay > 0:
            job.requeue_later(now + delay, index, index + 1, True)
        else:
            job.requeue(index, index + 1, alone=True)

    # -- after every event

    def _settle(self, now: float) -> None:
        """Hand out work, and end the jobs that are over."""
        for job in self.jobs.values():
            job.wake(now)
        self._assign(now)
        for job in self.jobs.values():
            if not job.state.is_final and job.is_over():
                if job.state is JobState.CANCELLING:
                    step = "stopped"
                else:
                    step = "fail" if job.n_failed else "finish"
                job.state = LIFE_CYCLE[job.state, step]
                self._actions.append(Finish(job.plan.job_id, step))

    def _assign(self, now: float) -> None:
        """Give work to every worker that has room, one batch each in turn."""
        self._look_again = None
        working = [job for job in self.jobs.values() if job.has_work()]
        for depth in range(1, self.limits.queue_depth + 1):
            for name, worker in self._workers.items():
                if worker.draining or len(worker.flights) >= depth or not working:
                    continue
                job = self._choose(working, name, depth)
                if job is None:
                    continue
                self._send(job, name, worker, now)
                if not job.has_work():
                    working.remove(job)
        self._rebalance(now)

    def _choose(self, working: list[JobProgress], worker: str, depth: int) -> JobProgress | None:
        """Return the job with the fewest workers that may have this one too."""
        best: JobProgress | None = None
        fewest = 0
        for job in working:
            holders = {flight.worker for flight in job.flights.values()}
            cap = job.plan.workers
            if cap is not None and worker not in holders and len(holders) >= cap:
                continue
            if depth > 1 and not job.sizer.is_quick():
                continue
            if best is None or len(holders) < fewest:
                best, fewest = job, len(holders)
        return best

    def _send(self, job: JobProgress, name: str, worker: _Worker, now: float) -> None:
        share = min(len(self._workers), job.plan.workers or len(self._workers))
        first, stop = job.take(share)
        self._fly(job, name, worker, first, stop, now)

    def _fly(
        self,
        job: JobProgress,
        name: str,
        worker: _Worker,
        first: int,
        stop: int,
        now: float,
        backup: bool = False,
    ) -> None:
        self._batches += 1
        flight = Flight(self._batches, job.plan.job_id, name, first, stop, now, backup)
        if not worker.flights:
            worker.heard = now
        worker.flights[flight.id] = job.flights[flight.id] = flight
        self._actions.append(Submit(name, flight.id, flight.job_id, first, stop - first))

    def _rebalance(self, now: float) -> None:
        """Let idle workers take over from busy ones."""
        idle = [name for name, worker in self._workers.items() if not worker.flights]
        if not idle:
            return
        for name, worker in self._workers.items():
            if not idle:
                return
            if worker.draining or not worker.flights:
                continue
            job = self.jobs[next(iter(worker.flights.values())).job_id]
            if job.state is not JobState.RUNNING or self._at_cap(job):
                continue
            mean = job.sizer.mean or 0.0
            unbegun = sum(f.stop - f.next for f in worker.flights.values()) - 1
            silence = now - worker.heard
            if self.limits.can_revoke and unbegun > 0:
                if unbegun * mean > REBALANCE_SECONDS or silence > mean + REBALANCE_SECONDS:
                    stuck = silence > max(REBALANCE_SECONDS, 3 * mean * unbegun)
                    worker.draining = True
                    self._actions.append(Revoke(name, 0 if stuck else unbegun // 2))
                    idle.pop()
                else:
                    self._look_at(worker.heard + mean + 1.1 * REBALANCE_SECONDS)
            elif self._straggles(job, worker, mean, now):
                flight = next(iter(worker.flights.values()))
                other = idle.pop()
                self._fly(job, other, self._workers[other], flight.next, flight.stop, now, True)

    def _look_at(self, when: float) -> None:
        self._look_again = when if self._look_again is None else min(self._look_again, when)

    def _at_cap(self, job: JobProgress) -> bool:
        cap = job.plan.workers
        return cap is not None and self.workers_of(job.plan.job_id) >= cap

    def _straggles(self, job: JobProgress, worker: _Worker, mean: float, now: float) -> bool:
        """Whether a worker's batch is worth a second copy; if it may become so, look again."""
        if not (
            self.limits.can_duplicate and job.plan.backup and mean and len(worker.flights) == 1
        ):
            return False
        (flight,) = worker.flights.values()
        twins = sum(f.next < flight.stop and flight.next < f.stop for f in job.flights.values())
        if flight.backup or twins > 1:
            return False
        late = max(BACKUP_SECONDS, BACKUP_FACTOR * mean * (flight.stop - flight.next))
        if now - flight.since >= late:
            return True
        self._look_at(flight.since + late)
        return False
