"""Who gets which items: batches for workers with room, and relief for those with too much."""

from __future__ import annotations

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.actions import Action, Revoke, Submit
from cloudbutton_backend.dispatch.fleet import Fleet, Worker
from cloudbutton_backend.dispatch.job_state import Flight, JobProgress
from cloudbutton_backend.dispatch.relief import (
    Duplicate,
    LookAgain,
    Patience,
    TakeBack,
    Watchlist,
    advise,
)
from cloudbutton_backend.jobs import JobState


class Sharing:
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
        When somebody may need relief, if nothing happens before.
    """

    def __init__(self, limits: Limits, fleet: Fleet, actions: list[Action]) -> None:
        self._limits = limits
        self._fleet = fleet
        self._actions = actions
        self._batches = 0
        self.live: dict[str, JobProgress] = {}
        self._watch: dict[str, Watchlist] = {}
        """For each live job, its workers that may need help."""
        self.patience = Patience()
        self.look_again: float | None = None

    def admit(self, job: JobProgress) -> None:
        """A job begins, or begins again."""
        self.live[job.plan.job_id] = job
        self._watch[job.plan.job_id] = Watchlist()

    def dismiss(self, job: JobProgress) -> None:
        """A job has ended."""
        del self.live[job.plan.job_id], self._watch[job.plan.job_id]

    def assign(self, now: float) -> None:
        """Give work to every worker that has room, one batch each in turn."""
        working = [job for job in self.live.values() if job.has_work()]
        for load in range(self._limits.queue_depth):
            if load:
                working = [job for job in working if job.sizer.is_quick()]
            for worker in self._fleet.with_room(working, load):
                if not load and all(job.is_full() for job in working):
                    break
                job = _choose(working, worker)
                if job is None:
                    continue
                share = min(len(self._fleet), job.plan.workers or len(self._fleet))
                first, stop = job.take(share)
                self._fly(job, worker, first, stop, now)
                if not job.has_work():
                    working.remove(job)
                    if not working:
                        return

    def _fly(
        self, job: JobProgress, worker: Worker, first: int, stop: int, now: float, twin: int = 0
    ) -> Flight:
        self._batches += 1
        job_id = job.plan.job_id
        flight = Flight(self._batches, job_id, worker.name, first, stop, twin=twin)
        self._fleet.hold(worker, flight, now)
        job.hold(flight)
        self._actions.append(Submit(worker.name, flight.id, job_id, first, stop - first))
        self.look_after(worker, now)
        return flight

    def look_after(self, worker: Worker, now: float) -> None:
        """Something changed at a worker: have a look at it as soon as another is idle."""
        if worker.flights and (self._limits.can_revoke or self._limits.can_duplicate):
            watch = self._watch.get(worker.first().job_id)
            if watch is not None:
                watch.add(worker.name, now)

    def relieve(self, now: float) -> None:
        """Let idle workers take over from busy ones."""
        self.look_again = None
        for job_id, watch in self._watch.items():
            job = self.live[job_id]
            while self._n_spare() > 0 and job.state is JobState.RUNNING and not job.is_full():
                name = watch.pop(now)
                if name is None:
                    self._look_at(watch.first())
                    break
                worker = self._fleet.get(name)
                if worker is not None and worker.flights and worker.first().job_id == job_id:
                    self._help(job, worker, now)

    def _look_at(self, when: float | None) -> None:
        if when is not None and (self.look_again is None or when < self.look_again):
            self.look_again = when

    def _n_spare(self) -> int:
        """Idle workers that are not yet promised what somebody else has to hand back."""
        return self._fleet.n_idle() - len(self._fleet.asked)

    def _help(self, job: JobProgress, worker: Worker, now: float) -> None:
        """Relieve a worker if that is worth it, or see when it may be."""
        if worker.name in self._fleet.asked:
            return
        advice = advise(self._limits, self.patience.seconds, job, worker, now)
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


def _choose(working: list[JobProgress], worker: Worker) -> JobProgress | None:
    """Return the job with the fewest workers that may have this one too."""
    best: JobProgress | None = None
    for job in working:
        if job.is_full() and worker.name not in job.holders:
            continue
        if best is None or len(job.holders) < len(best.holders):
            best = job
    return best
