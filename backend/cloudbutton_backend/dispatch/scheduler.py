"""The dispatcher's decisions: events and the time go in, actions come out. No I/O, clock or thread.

::

    events, time ──▶ Scheduler ──▶ Assignment   who gets which items, who is relieved   ──▶ actions
                         │         Recovery     what is tried again, what has failed
                         ▼
               JobProgress, WorkerSet           what waits, runs, has ended; who holds what

The rules, each in one method:

* a batch is as long as `batching.BatchSizer` says; quick items are sent ahead by one batch
  (`Assignment.assign`);
* where calls have a price, each gets a lease, so that what is spent and what calls in flight can cost
  at most stays within the budget (`job_budget.JobBudget`); what a lease cut off is run again with a
  longer one (`Recovery.expire`), and a job that cannot pay for its next call ends (`Scheduler._settle`);
* an idle worker gets what a busy one has not begun or, where that does no harm, a second copy of a
  straggler (`Assignment.relieve`);
* an item's first result counts, later ones are dropped (`Scheduler._take_in`);
* the user's exceptions are tried again `retries` times (`Recovery.tries_again`); a lost worker costs
  an attempt only to the item that it was running, which is searched for where that is not known
  (`Recovery.search`), and an item that loses its worker or its result too often fails alone
  (`Recovery.blame`);
* when an item fails in a job that stops on errors, the items before it are still finished, so that
  the error which surfaces is the one that the plain loop would have raised first (`Recovery.fail`).
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudbutton_backend.backends.protocol import (
    NO_BATCH,
    BatchEnded,
    Charged,
    Event,
    Limits,
    Overdue,
    Results,
    Revoked,
    Warned,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.dispatch.actions import (
    Accept,
    Action,
    AskForMoney,
    BatchLost,
    Finish,
    Kill,
    OverBudget,
)
from cloudbutton_backend.dispatch.assignment import Assignment
from cloudbutton_backend.dispatch.job_budget import JobBudget
from cloudbutton_backend.dispatch.job_state import (
    DONE,
    PENDING,
    DispatchPlan,
    InFlightBatch,
    JobProgress,
)
from cloudbutton_backend.dispatch.recovery import Recovery
from cloudbutton_backend.dispatch.worker_set import WorkerSet, WorkerSlots
from cloudbutton_backend.job_model import LIFE_CYCLE, JobState


class Scheduler:
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
        self._actions: list[Action] = []
        self._worker_set = WorkerSet(limits.queue_depth)
        self._sharing = Assignment(limits, self._worker_set, self._actions)
        self._recovery = Recovery(limits, self._worker_set, self._actions, seed)

    # -- in

    def open(self, plan: DispatchPlan, now: float) -> None:
        """Begin a job."""
        limits = self.limits
        job_budget = None
        if limits.rate is not None:
            job_budget = JobBudget(
                limits.rate, plan.budget, limits.longest_call, plan.spent, by_day=plan.by_day
            )
        job = JobProgress(plan, limits.batch_seconds, job_budget, limits.first_wave)
        self.jobs[plan.job_id] = job
        self._sharing.admit(job, plan.batches_after)
        self._settle(now)

    def supply(self, job_id: str, ready: int, ended: bool, now: float) -> None:
        """The items below `ready` are available; there are no more if `ended`."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.extend(ready, ended)
            self._settle(now)

    def weigh(self, job_id: str, items: int, nbytes: int) -> None:
        """Some items of a job are `nbytes` together: batches are kept small enough to move."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.sizer.weigh(items, nbytes)

    def cancel(self, job_id: str, now: float, *, is_broken: bool = False) -> None:
        """Stop a job; what has ended is kept. Safe to repeat.

        Parameters
        ----------
        is_broken
            Whether it has to stop because it cannot go on, and so has failed.
        """
        job = self.jobs.get(job_id)
        if job is None or job.state.is_final:
            return
        job.is_broken = job.is_broken or is_broken
        job.state = LIFE_CYCLE[job.state, "cancel"]
        job.drop_waiting()
        self._recovery.interrupt(job, 0)
        self._settle(now)

    def retry(self, job_id: str, now: float, budget: float | None = None) -> None:
        """Run again what failed or never ran, in a job that has ended.

        Parameters
        ----------
        budget
            Dollars that it may spend in all, what it has spent included; None for as many as before.
        """
        job = self.jobs[job_id]
        job.state = LIFE_CYCLE[job.state, "retry"]
        job.reopen()
        if job.job_budget is not None:
            job.job_budget.top_up(job.job_budget.budget if budget is None else budget)
        self._sharing.admit(job)
        self._settle(now)

    def lack_items(self, job_id: str) -> None:
        """Items of a job cannot be had: it fails once those that there are have ended."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.lacks_items = True

    def give(self, job_id: str, dollars: float, now: float) -> None:
        """Grant a job dollars of the daily budget; 0 if the grant was refused."""
        job = self.jobs.get(job_id)
        if job is not None and job.job_budget is not None and not job.state.is_final:
            job.job_budget.give(dollars)
            self._settle(now)

    def forget(self, job_id: str) -> None:
        """Drop a job that has ended."""
        job = self.jobs.get(job_id)
        if job is not None and job.state.is_final:
            del self.jobs[job_id]

    def discard(self, job_id: str, now: float) -> None:
        """Take a job out by force, whatever its state has come to; its workers are ended."""
        job = self.jobs.pop(job_id, None)
        if job is not None:
            self._sharing.dismiss(job)
        for worker in self._worker_set.busy():
            if any(flight.job_id == job_id for flight in worker.flights.values()):
                self.give_up(worker.name, "a job was taken from it by force", now)

    def give_up(self, name: str, cause: str, now: float) -> None:
        """End a worker; what it held goes to others, at no attempt's cost."""
        self._actions.append(Kill(name, "lost"))
        self._on_worker_down(WorkerDown(name, cause, NO_BATCH, None, "lost"), now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        self._settle(now)

    def handle(self, events: Iterable[Event], now: float) -> None:
        """Take in what the backend reports."""
        for event in events:
            self.take(event, now)
        self._settle(now)

    def take(self, event: Event, now: float) -> None:
        """Take in one event; `tick` acts on it."""
        if isinstance(event, Results):
            self._on_results(event, now)
        elif isinstance(event, BatchEnded):
            self._on_batch_ended(event, now)
        elif isinstance(event, Revoked):
            self._on_revoked(event, now)
        elif isinstance(event, WorkerUp):
            self._worker_set.add(event.worker, now)
        elif isinstance(event, WorkerDown):
            self._on_worker_down(event, now)
        elif isinstance(event, Overdue):
            self._on_overdue(event)
        elif isinstance(event, Charged):
            self._on_charged(event)

    # -- out

    def drain(self) -> list[Action]:
        """Return and clear the pending actions."""
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    def next_wake(self) -> float | None:
        """Return when `tick` should be called at the latest."""
        times = [job.next_wake() for job in self._sharing.live.values()]
        times.append(self._sharing.look_again)
        return min((time for time in times if time is not None), default=None)

    def workers_of(self, job_id: str) -> int:
        """Return how many workers hold items of a job."""
        return len(self.jobs[job_id].holders)

    def is_waiting(self) -> bool:
        """Whether workers hold items, so that something has to come back."""
        return any(job.flights for job in self._sharing.live.values())

    def holders(self) -> list[str]:
        """Return the workers that hold items."""
        return [worker.name for worker in self._worker_set.busy()]

    def job_of(self, event: Event) -> str | None:
        """Return the job of an event, None if it is of no job or of several."""
        if isinstance(event, (Charged, Warned)):
            return event.job_id
        if isinstance(event, (Results, BatchEnded, Revoked, Overdue)):
            found = self._flight(event.worker, event.batch)
            return None if found is None else found[1].job_id
        return None

    @property
    def patience(self) -> float:
        """Seconds for which a worker may be silent before others take its work over."""
        return self._sharing.patience.seconds

    @property
    def n_workers(self) -> int:
        return len(self._worker_set)

    # -- what comes back

    def _flight(self, worker: str, batch: int) -> tuple[WorkerSlots, InFlightBatch] | None:
        state = self._worker_set.get(worker)
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
            self._recovery.give_back(job, flight, flight.next, event.first, most=1)
        job.move(flight, max(flight.next, event.first + event.count), flight.stop)
        job.wave = None
        job.sizer.learn(event.count, event.meta.seconds)
        job.sizer.weigh(event.count, event.length)
        if event.meta.errors:
            flight.erred = True
        self._take_in(job, flight, event)
        self._recovery.stop_twin(job, flight)
        self._sharing.check_progress(worker, now)

    def _take_in(self, job: JobProgress, flight: InFlightBatch, event: Results) -> None:
        """Accept each item's first result."""
        errors = event.meta.errors
        if not errors and job.mark_done(event.first, event.count):
            self._actions.append(Accept(job.plan.job_id, event))
            return
        skip = set()
        for offset in range(event.count):
            index = event.first + offset
            if job.marks[index] != PENDING:
                skip.add(index)
            elif offset not in errors:
                job.mark(index, DONE)
            elif self._recovery.tries_again(job, flight, index, errors[offset]["kind"]):
                skip.add(index)
            else:
                self._recovery.fail(job, index)
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
        if event.expired and left > 0 and not flight.erred:
            self._recovery.expire(job, flight, now)
        elif event.unreadable and left > 1:
            self._recovery.search(job, flight)
        elif left > 0 and (event.unreadable or not stopped):
            # Nothing stopped it: count this, or a result that never arrives would be awaited for ever.
            what = "it could not be read there" if event.unreadable else "its result did not arrive"
            self._recovery.blame(job, flight, flight.next, "lost", what, now)
            self._recovery.give_back(job, flight, flight.next + 1, flight.stop)
        else:
            if left > 0 and not event.ran and worker.name in self._worker_set.asked:
                self._sharing.patience.too_short()
            self._recovery.give_back(job, flight, flight.next, flight.stop)
        if worker.flights:
            self._sharing.check_progress(worker, now)

    def _on_revoked(self, event: Revoked, now: float) -> None:
        found = self._flight(event.worker, event.batch)
        if found is None:
            return
        worker, flight = found
        self._worker_set.asked.discard(worker.name)
        job = self.jobs[flight.job_id]
        stop = min(event.stop, flight.stop)
        job.move(flight, flight.next, min(flight.stop, event.first))
        if flight is worker.first():
            if event.first <= flight.next:
                self._sharing.patience.too_short()
            else:
                self._sharing.patience.long_enough()
        self._recovery.give_back(job, flight, event.first, stop)
        if flight.next >= flight.stop and flight is not worker.first():
            self._land(flight)  # it is empty: its job need not wait for what the worker does before
        self._sharing.check_progress(worker, now)

    def _on_overdue(self, event: Overdue) -> None:
        """An item takes longer than its job allows: its worker has to go."""
        found = self._flight(event.worker, event.batch)
        if found is not None and found[1].next <= event.item:
            found[0].overdue = event.item
            self._actions.append(Kill(event.worker, "timeout"))

    def _on_charged(self, event: Charged) -> None:
        job = self.jobs.get(event.job_id)
        if job is not None and job.job_budget is not None:
            job.job_budget.settle(event.batch, event.cost)

    def _on_worker_down(self, event: WorkerDown, now: float) -> None:
        worker = self._worker_set.remove(event.worker)
        if worker is None:
            return
        left = [flight for flight in worker.flights.values() if flight.next < flight.stop]
        # Batches run in order: if it is not known which one it was, it was the first.
        ran = event.batch if event.batch is not None else left[0].id if left else None
        for flight in worker.flights.values():
            job = self.jobs.get(flight.job_id)
            if job is None:  # it was taken out by force
                continue
            job.land(flight)
            if flight.next >= flight.stop or job.state is not JobState.RUNNING:
                continue
            if flight.id == ran and event.reason == "lease":
                self._recovery.expire(job, flight, now)
            elif flight.id == ran:
                self._on_batch_lost(job, flight, worker, event, now)
            else:
                self._recovery.give_back(job, flight, flight.next, flight.stop)

    def _on_batch_lost(
        self,
        job: JobProgress,
        flight: InFlightBatch,
        worker: WorkerSlots,
        event: WorkerDown,
        now: float,
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
            self._recovery.search(job, flight)
            return
        self._recovery.give_back(job, flight, flight.next, culprit)
        self._recovery.give_back(job, flight, culprit + 1, flight.stop)
        made_way = event.reason == "timeout" and worker.overdue not in (None, culprit)
        if made_way or (event.reason == "killed" and worker.interrupted):
            # Ended by us: for an item that had just made way for this one, or for another job.
            self._recovery.give_back(job, flight, culprit, culprit + 1)
        else:
            self._recovery.blame(job, flight, culprit, event.reason, event.cause, now)

    def _land(self, flight: InFlightBatch) -> None:
        """A worker no longer holds a batch."""
        self._worker_set.land(flight)
        self.jobs[flight.job_id].land(flight)

    # -- after every event

    def _settle(self, now: float) -> None:
        """Hand out work, and end the jobs that are over."""
        for job in self._sharing.live.values():
            job.wake(now)
        self._sharing.assign(now)
        self._sharing.relieve(now)
        for job in list(self._sharing.live.values()):
            if job.is_over():
                step = job.last_step()
                job.state = LIFE_CYCLE[job.state, step]
                self._end(job, step)
            elif job.job_budget is not None and job.job_budget.is_empty and not job.flights:
                self._stop_for_budget(job, job.job_budget)
            elif job.job_budget is not None and job.job_budget.asks is not None:
                self._ask_for_money(job, job.job_budget)

    def _stop_for_budget(self, job: JobProgress, job_budget: JobBudget) -> None:
        """End a job whose next call cannot be paid for; those it had running have ended."""
        limit = job_budget.limit
        assert limit is not None
        job.drop_waiting()
        job.state = LIFE_CYCLE[job.state, "fail"]
        self._actions.append(
            OverBudget(
                job.plan.job_id,
                job_budget.spent,
                limit,
                job_budget.wanted,
                job_budget.is_short_of_the_day,
            )
        )
        self._end(job, "fail")

    def _ask_for_money(self, job: JobProgress, job_budget: JobBudget) -> None:
        """Pass on a job's request for more of the daily budget."""
        assert job_budget.asks is not None
        at_least, wanted = job_budget.asks
        job_budget.asks, job_budget.is_waiting = None, True
        self._actions.append(AskForMoney(job.plan.job_id, at_least, wanted))

    def _end(self, job: JobProgress, step: str) -> None:
        if job.job_budget is not None:
            job.job_budget.give_back()
        self._actions.append(Finish(job.plan.job_id, step))
        self._sharing.dismiss(job)
