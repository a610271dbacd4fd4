"""When an idle worker should help a busy one, and how. Pure decisions."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.job_state import JobProgress
from cloudbutton_backend.dispatch.worker_set import WorkerSlots

REBALANCE_SECONDS: Final = 0.005
"""Work waiting behind a busy worker that is worth moving to an idle one."""
BACKUP_FACTOR: Final = 3.0
"""A batch is a straggler when it has taken this many times what its items take on average …"""
BACKUP_SECONDS: Final = 1.0
"""… and at least this long."""
LEAST_PAUSE: Final = 0.001
"""Seconds between two looks at the same worker."""


class Patience:
    """How long a worker may be silent before it counts as held up by an item.

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
    """Not yet: it may be worth it at this time."""

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
    """When to look at which worker. An earlier time replaces a later one."""

    def __init__(self) -> None:
        self._when: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def add(self, name: str, when: float) -> None:
        """Look at a worker at this time, or earlier if that was asked before."""
        known = self._when.get(name)
        if known is None or when < known:
            self._when[name] = when
            heapq.heappush(self._heap, (when, name))

    def pop(self, now: float) -> str | None:
        """Return a worker to look at now, and forget it."""
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
