"""The dispatcher's decisions: events and the time go in, actions come out. No I/O, clock or thread.

The rules, each in one method:

* a batch is as long as `batching.Sizer` says; quick items are sent ahead by one batch (`_assign`);
* an idle worker gets what a busy one has not begun or, where that does no harm, a second copy of a
  straggler (`_relieve`, `relief.advise`);
* an item's first result counts, later ones are dropped (`_on_results`);
* the user's exceptions are tried again `retries` times (`_tries_again`); a lost worker costs an
  attempt only to the item that it was running, which is searched for where that is not known
  (`_search`), and an item that loses its worker or its result too often fails alone (`_blame`);
* when an item fails in a job that stops on errors, the items before it are still finished, so that
  the error which surfaces is the one that the plain loop would have raised first (`_on_failure`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
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
from cloudbutton_backend.dispatch.fleet import Fleet, Worker
from cloudbutton_backend.dispatch.job_state import DONE, FAILED, PENDING, Flight, JobProgress, Plan
from cloudbutton_backend.dispatch.relief import (
    Duplicate,
    LookAgain,
    Patience,
    TakeBack,
    Watchlist,
    advise,
)
from cloudbutton_backend.jobs import LIFE_CYCLE, JobState

SEARCH_PARTS: Final = 8
"""A batch whose worker died of an unknown item is tried again in so many parts."""


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
        self._live: dict[str, JobProgress] = {}
        """Jobs that have not ended."""
        self._fleet = Fleet(limits.queue_depth)
        self._watch: dict[str, Watchlist] = {}
        """For each live job, its workers that may need help."""
        self.patience = Patience()
        self._actions: list[Action] = []
        self._batches = 0
        self._random = random.Random(seed)
        self._look_again: float | None = None

    # -- in

    def open(self, plan: Plan, now: float) -> None:
        """Begin a job."""
        job = JobProgress(plan, self.limits.batch_seconds)
        self.jobs[plan.job_id] = self._live[plan.job_id] = job
        self._watch[plan.job_id] = Watchlist()
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
        self._live[job_id] = job
        self._watch[job_id] = Watchlist()
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
                self._on_revoked(event, now)
            elif isinstance(event, WorkerUp):
                self._fleet.add(event.worker, now)
            elif isinstance(event, WorkerDown):
                self._on_worker_down(event, now)
            elif isinstance(event, Overdue):
                self._on_overdue(event)
        self._settle(now)

    # -- out

    def drain(self) -> list[Action]:
        """Return what is to be done, and forget it."""
        actions, self._actions = self._actions, []
        return actions

    def next_wake(self) -> float | None:
        """Return when `tick` should be called at the latest."""
        times = [job.next_wake() for job in self._live.values()]
        times.append(self._look_again)
        return min((time for time in times if time is not None), default=None)

    def workers_of(self, job_id: str) -> int:
        """Return how many workers hold items of a job."""
        return len(self.jobs[job_id].holders)

    @property
    def n_workers(self) -> int:
        return len(self._fleet)

    # -- what comes back

    def _flight(self, worker: str, batch: int) -> tuple[Worker, Flight] | None:
        state = self._fleet.get(worker)
        flight = state.flights.get(batch) if state is not None else None
        if state is None or flight is None:
            return None  # a stale message of a batch that was given up
        return state, flight

    def _on_results(self, event: Results, now: float) -> None:
        found = self._flight(event.worker, event.batch)
        if found is None:
            return
        worker, flight = found
        worker.heard = now
        job = self.jobs[flight.job_id]
        if event.first > flight.next:
            # What should have come before got lost on its way.
            self._give_back(job, flight, flight.next, event.first, most=1)
        flight.next = max(flight.next, event.first + event.count)
        job.sizer.learn(event.count, event.meta.get("dt", 0.0))
        if event.meta.get("errors"):
            flight.erred = True
        self._take_in(job, flight, event)
        self._stop_twin(job, flight)
        self._look_after(worker, now)

    def _take_in(self, job: JobProgress, flight: Flight, event: Results) -> None:
        """Let each item's first result count."""
        errors = event.meta.get("errors")
        if not errors and job.mark_done(event.first, event.count):
            self._actions.append(Accept(job.plan.job_id, event))
            return
        errors = errors or {}
        skip = set()
        for offset in range(event.count):
            index = event.first + offset
            if job.marks[index] != PENDING:
                skip.add(index)
            elif offset not in errors:
                job.mark(index, DONE)
            elif self._tries_again(job, flight, index, errors[offset].get("kind", "")):
                skip.add(index)
            else:
                job.mark(index, FAILED)
                self._on_failure(job, index)
        if len(skip) < event.count or errors:
            self._actions.append(Accept(job.plan.job_id, event, frozenset(skip)))

    def _on_batch_ended(self, event: BatchEnded, now: float) -> None:
        found = self._flight(event.worker, event.batch)
        if found is None:
            return
        worker, flight = found
        worker.heard = now
        job = self.jobs[flight.job_id]
        stopped = worker.draining or flight.erred or flight.next >= job.limit()
        self._land(flight)
        left = flight.stop - flight.next
        if event.unreadable and left > 1:
            self._search(job, flight)
        elif left > 0 and (event.unreadable or not stopped):
            # Nothing stopped it: count this, lest a result that never arrives is awaited for ever.
            what = "it could not be read there" if event.unreadable else "its result did not arrive"
            self._blame(job, flight, flight.next, "lost", what, now)
            self._give_back(job, flight, flight.next + 1, flight.stop)
        else:
            if left > 0 and not event.ran and worker.name in self._fleet.asked:
                self.patience.too_short()
            self._give_back(job, flight, flight.next, flight.stop)
        if worker.flights:
            self._look_after(worker, now)

    def _on_revoked(self, event: Revoked, now: float) -> None:
        found = self._flight(event.worker, event.batch)
        if found is None:
            return
        worker, flight = found
        self._fleet.asked.discard(worker.name)
        stop = min(event.stop, flight.stop)
        flight.stop = min(flight.stop, event.first)
        if flight is worker.first():
            if event.first <= flight.next:
                self.patience.too_short()
            else:
                self.patience.long_enough()
        self._give_back(self.jobs[flight.job_id], flight, event.first, stop)
        self._look_after(worker, now)

    def _on_overdue(self, event: Overdue) -> None:
        """An item takes longer than its job allows: its worker has to go."""
        found = self._flight(event.worker, event.batch)
        if found is not None and found[1].next <= event.item:
            found[0].overdue = event.item
            self._actions.append(Kill(event.worker, "timeout"))

    def _on_worker_down(self, event: WorkerDown, now: float) -> None:
        worker = self._fleet.remove(event.worker)
        if worker is None:
            return
        left = [flight for flight in worker.flights.values() if flight.next < flight.stop]
        # Batches run in order: if it is not known which one it was, it was the first.
        ran = event.batch if event.batch is not None else left[0].id if left else None
        for flight in worker.flights.values():
            job = self.jobs[flight.job_id]
            job.land(flight)
            if flight.next >= flight.stop or job.state is not JobState.RUNNING:
                continue
            if flight.id == ran:
                self._on_batch_lost(job, flight, worker, event, now)
            else:
                self._give_back(job, flight, flight.next, flight.stop)

    def _on_batch_lost(
        self, job: JobProgress, flight: Flight, worker: Worker, event: WorkerDown, now: float
    ) -> None:
        """A worker went down while it ran this batch."""
        left = flight.stop - flight.next
        self._actions.append(
            BatchLost(flight.job_id, flight.id, flight.worker, flight.next, left, event.reason)
        )
        culprit = event.item
        if culprit is None and left == 1:
            culprit = flight.next
        if culprit is None or not flight.next <= culprit < flight.stop:
            self._search(job, flight)
            return
        self._give_back(job, flight, flight.next, culprit)
        self._give_back(job, flight, culprit + 1, flight.stop)
        made_way = event.reason == "timeout" and worker.overdue not in (None, culprit)
        if made_way or (event.reason == "killed" and worker.interrupted):
            # Ended by us: for an item that had just made way for this one, or for another job.
            self._give_back(job, flight, culprit, culprit + 1)
        else:
            self._blame(job, flight, culprit, event.reason, event.cause, now)

    def _land(self, flight: Flight) -> None:
        """A worker no longer holds a batch."""
        self._fleet.land(flight)
        self.jobs[flight.job_id].land(flight)

    # -- what is tried again, and what has failed

    def _give_back(
        self, job: JobProgress, flight: Flight, first: int, stop: int, most: int = 0
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

    def _search(self, job: JobProgress, flight: Flight) -> None:
        """One item of a batch did harm: find out which, in ever smaller batches."""
        part = max(1, (flight.stop - flight.next) // SEARCH_PARTS)
        self._give_back(job, flight, flight.next, flight.stop, part)

    def _tries_again(self, job: JobProgress, flight: Flight, index: int, kind: str) -> bool:
        """Count an attempt of the user's code; queue the item again if it has one left."""
        attempts = job.attempts.get(index, 0) + 1
        job.attempts[index] = attempts
        if kind != "exception" or attempts > job.plan.retries or job.state is not JobState.RUNNING:
            return False
        job.retried += 1
        self._give_back(job, flight, index, index + 1, most=1)
        return True

    def _blame(
        self, job: JobProgress, flight: Flight, index: int, reason: str, cause: str, now: float
    ) -> None:
        """An item took its worker down, or too long, or left nothing behind."""
        if job.state is not JobState.RUNNING or job.marks[index] != PENDING:
            return
        if reason == "timeout":
            if self._tries_again(job, flight, index, "exception"):
                return
            attempts, kind = job.attempts[index], "timeout"
        else:
            attempts, kind = job.losses.get(index, 0) + 1, "lost"
            job.losses[index] = attempts
            if attempts < self.limits.lost_attempts:
                job.retried += 1
                self._again_later(job, flight, index, attempts, now)
                return
        job.mark(index, FAILED)
        self._actions.append(FailItem(job.plan.job_id, index, kind, cause, attempts))
        self._on_failure(job, index)

    def _again_later(
        self, job: JobProgress, flight: Flight, index: int, attempts: int, now: float
    ) -> None:
        """Queue an item again after a delay that doubles, with jitter."""
        delay = self.limits.retry_delay * 2 ** (attempts - 1) * self._random.uniform(0.5, 1.5)
        if delay > 0 and flight.twin not in job.flights:
            job.requeue_later(now + delay, index, index + 1, 1)
        else:
            self._give_back(job, flight, index, index + 1, most=1)

    def _on_failure(self, job: JobProgress, index: int) -> None:
        """An item has failed for good."""
        if not job.plan.stop_on_error:
            return
        if job.horizon is None or index < job.horizon - 1:
            job.horizon = index + 1
            self._interrupt(job, job.horizon)

    def _interrupt(self, job: JobProgress, horizon: int) -> None:
        """Stop the workers that run nothing but items of `job` from `horizon` on."""
        running = [flight for flight in job.flights.values() if flight.next < flight.stop]
        wanted = {flight.worker for flight in running if flight.next < horizon}
        for name in dict.fromkeys(flight.worker for flight in running):
            if name not in wanted:
                self._stop_worker(name, job.plan.job_id)

    def _stop_worker(self, name: str, job_id: str) -> None:
        worker = self._fleet.get(name)
        if worker is not None and job_id not in worker.interrupted:
            worker.interrupted.add(job_id)
            self._fleet.drain(worker)
            self._actions.append(Interrupt(name, job_id))

    def _stop_twin(self, job: JobProgress, flight: Flight) -> None:
        """Stop the other copy of a batch once all of its items have ended."""
        twin = job.flights.get(flight.twin)
        if twin is not None and job.marks.find(PENDING, twin.next, twin.stop) < 0:
            self._stop_worker(twin.worker, job.plan.job_id)

    # -- after every event

    def _settle(self, now: float) -> None:
        """Hand out work, and end the jobs that are over."""
        for job in self._live.values():
            job.wake(now)
        self._assign(now)
        self._relieve(now)
        for job in list(self._live.values()):
            if job.is_over():
                if job.state is JobState.CANCELLING:
                    step = "stopped"
                else:
                    step = "fail" if job.n_failed else "finish"
                job.state = LIFE_CYCLE[job.state, step]
                self._actions.append(Finish(job.plan.job_id, step))
                del self._live[job.plan.job_id], self._watch[job.plan.job_id]

    def _assign(self, now: float) -> None:
        """Give work to every worker that has room, one batch each in turn."""
        working = [job for job in self._live.values() if job.has_work()]
        for load in range(self.limits.queue_depth):
            if load:
                working = [job for job in working if job.sizer.is_quick()]
            for worker in self._fleet.with_room(working, load):
                if not load and all(job.is_full() for job in working):
                    break
                job = self._choose(working, worker)
                if job is None:
                    continue
                share = min(len(self._fleet), job.plan.workers or len(self._fleet))
                first, stop = job.take(share)
                self._fly(job, worker, first, stop, now)
                if not job.has_work():
                    working.remove(job)
                    if not working:
                        return

    def _choose(self, working: list[JobProgress], worker: Worker) -> JobProgress | None:
        """Return the job with the fewest workers that may have this one too."""
        best: JobProgress | None = None
        for job in working:
            if job.is_full() and worker.name not in job.holders:
                continue
            if best is None or len(job.holders) < len(best.holders):
                best = job
        return best

    def _fly(
        self, job: JobProgress, worker: Worker, first: int, stop: int, now: float, twin: int = 0
    ) -> Flight:
        self._batches += 1
        job_id = job.plan.job_id
        flight = Flight(self._batches, job_id, worker.name, first, stop, twin=twin)
        self._fleet.hold(worker, flight, now)
        job.hold(flight)
        self._actions.append(Submit(worker.name, flight.id, job_id, first, stop - first))
        self._look_after(worker, now)
        return flight

    # -- towards the end

    def _look_after(self, worker: Worker, now: float) -> None:
        """Something changed at a worker: have a look at it as soon as another is idle."""
        if worker.flights and (self.limits.can_revoke or self.limits.can_duplicate):
            watch = self._watch.get(worker.first().job_id)
            if watch is not None:
                watch.add(worker.name, now)

    def _relieve(self, now: float) -> None:
        """Let idle workers take over from busy ones."""
        self._look_again = None
        for job_id, watch in self._watch.items():
            job = self._live[job_id]
            while self._n_spare() > 0 and job.state is JobState.RUNNING and not job.is_full():
                name = watch.pop(now)
                if name is None:
                    self._look_at(watch.first())
                    break
                worker = self._fleet.get(name)
                if worker is not None and worker.flights and worker.first().job_id == job_id:
                    self._help(job, worker, now)

    def _look_at(self, when: float | None) -> None:
        if when is not None and (self._look_again is None or when < self._look_again):
            self._look_again = when

    def _n_spare(self) -> int:
        """Idle workers that are not yet promised what somebody else has to hand back."""
        return self._fleet.n_idle() - len(self._fleet.asked)

    def _help(self, job: JobProgress, worker: Worker, now: float) -> None:
        """Relieve a worker if that is worth it, or see when it may be."""
        if worker.name in self._fleet.asked:
            return
        advice = advise(self.limits, self.patience.seconds, job, worker, now)
        if isinstance(advice, TakeBack):
            self._fleet.drain(worker)
            self._fleet.asked.add(worker.name)
            self._actions.append(Revoke(worker.name, advice.keep))
        elif isinstance(advice, Duplicate):
            flight = worker.first()
            other = self._fleet.any_idle()
            copy = self._fly(job, other, flight.next, flight.stop, now, twin=flight.id)
            flight.twin = copy.id
        elif isinstance(advice, LookAgain):
            self._watch[job.plan.job_id].add(worker.name, advice.when)
