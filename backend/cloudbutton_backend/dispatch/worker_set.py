"""The workers: what each holds, and which of them have room. Kept up to date event by event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloudbutton_backend.dispatch.job_state import InFlightBatch, JobProgress


@dataclass(slots=True)
class WorkerSlots:
    """The dispatcher's state of one worker."""

    name: str
    heard: float
    """When it last got or did something."""
    flights: dict[int, InFlightBatch] = field(default_factory=dict)
    """What it holds, in the order in which it runs them."""
    draining: bool = False
    """Something was taken back from it: nothing new before it is through with the rest."""
    interrupted: set[str] = field(default_factory=set)
    """Jobs that it was told to stop, until it is through with what it holds."""
    overdue: int | None = None
    """The item it is being ended for."""

    def first(self) -> InFlightBatch:
        """Return the batch that it runs now."""
        return next(iter(self.flights.values()))

    def unbegun(self) -> int:
        """Return how many items it has not begun, as far as its results tell."""
        return sum(max(0, flight.stop - flight.next) for flight in self.flights.values()) - 1


class WorkerSet:
    """All workers, grouped by how many batches they hold.

    No decision looks at all of ten thousand workers: those with room are found by their load, those
    that may need help by a `relief.Watchlist`.

    Parameters
    ----------
    depth
        Batches that one worker may hold.
    """

    def __init__(self, depth: int) -> None:
        self._all: dict[str, WorkerSlots] = {}
        # Dicts serve as sets that keep their order, so that a run can be repeated.
        self._by_load: list[dict[str, WorkerSlots]] = [{} for _ in range(depth + 1)]
        self.asked: set[str] = set()
        """Workers that have not yet answered what was taken back."""

    def __len__(self) -> int:
        return len(self._all)

    def get(self, name: str) -> WorkerSlots | None:
        return self._all.get(name)

    def add(self, name: str, now: float) -> None:
        """A worker is there. Safe to repeat."""
        if name not in self._all:
            self._all[name] = self._by_load[0][name] = WorkerSlots(name, now)

    def remove(self, name: str) -> WorkerSlots | None:
        """A worker is gone; return what was known of it."""
        worker = self._all.pop(name, None)
        if worker is not None:
            self._by_load[len(worker.flights)].pop(name, None)
            self.asked.discard(name)
        return worker

    def with_room(self, jobs: Sequence[JobProgress], load: int) -> list[WorkerSlots]:
        """Return the workers to which one of the jobs might give one more batch."""
        if not jobs:
            return []
        if not all(job.is_full() for job in jobs):
            return list(self._by_load[load].values())
        # Only those that work for one of the jobs already.
        names = dict.fromkeys(name for job in jobs for name in job.holders) if load else {}
        return [self._by_load[load][name] for name in names if name in self._by_load[load]]

    def n_idle(self) -> int:
        return len(self._by_load[0])

    def busy(self) -> list[WorkerSlots]:
        """Return the workers that hold something."""
        return [worker for worker in self._all.values() if worker.flights]

    def any_idle(self) -> WorkerSlots:
        """Return a worker that holds nothing; there must be one."""
        return next(iter(self._by_load[0].values()))

    def hold(self, worker: WorkerSlots, flight: InFlightBatch, now: float) -> None:
        """A worker is given a batch."""
        load = len(worker.flights)
        del self._by_load[load][worker.name]
        self._by_load[load + 1][worker.name] = worker
        if not load:
            worker.heard = now
        worker.flights[flight.id] = flight

    def land(self, flight: InFlightBatch) -> None:
        """A worker no longer holds a batch."""
        worker = self._all[flight.worker]
        load = len(worker.flights)
        del worker.flights[flight.id]
        self._by_load[load].pop(worker.name, None)
        if load == 1:
            worker.draining, worker.overdue = False, None
            worker.interrupted.clear()
            self.asked.discard(worker.name)
        if not worker.draining:
            self._by_load[load - 1][worker.name] = worker

    def drain(self, worker: WorkerSlots) -> None:
        """Give a worker nothing new before it is through with what it holds."""
        worker.draining = True
        self._by_load[len(worker.flights)].pop(worker.name, None)
