"""Imaginary workers on a virtual clock, which behave as `backends.protocol` says.

A worker runs its batches in order and sends results when a batch ends, or at the first item boundary
after `FLUSH_SECONDS`. Between two such moments nothing happens that needs simulating, so that one
step of the clock covers many items.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Charged,
    Event,
    Overdue,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.worker.batch_meta import BatchMeta
from tests.support.fault_dice import FaultDice
from tests.support.scripted_faults import (
    Crash,
    Crashes,
    DearCalls,
    DoubledResults,
    Fault,
    Hang,
    LateCharges,
    LateResults,
    LostCharges,
    LostResults,
    Raises,
    Slow,
    Stragglers,
    Stubborn,
    Throttled,
    Unreadable,
)
from tests.support.worker_startup import Startup
from tests.support.workload import Work

FLUSH_SECONDS: Final = 0.05
SETTLE_SECONDS: Final = 0.001
"""Between a revocation and the answer to it."""
GRACE_SECONDS: Final = 0.3
"""Between an interrupt and the end by force."""


class Agenda(Protocol):
    """What the workers need of the simulator."""

    now: float

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        """Call `act` at a time to come."""

    def report(self, event: Event) -> None:
        """Let the dispatcher know, now."""


@dataclass(slots=True)
class _Batch:
    id: int
    job: Work
    next: int
    """First item that has not been sent back."""
    stop: int
    ends: list[float] = field(default_factory=list)
    """When the items from `next` on end, as far as they are planned."""
    errors: dict[int, dict[str, Any]] = field(default_factory=dict)
    then: str = ""
    """What happens after those: flush | end | crash | hang | unreadable | lease."""
    fault: Any = None
    started: float = 0.0
    ran: int = 0
    lease: float = math.inf
    began: float | None = None
    """When its first item began."""


@dataclass(slots=True)
class _Worker:
    name: str
    queue: deque[_Batch] = field(default_factory=deque)
    """The first one is running."""
    held: dict[int, _Batch] = field(default_factory=dict)
    """What the backend has not heard the end of."""
    running: bool = False
    stamp: int = 0
    """Goes up when the plans change."""
    alive: bool = True
    is_cold: bool = True
    """Whether it has not had a call yet."""
    expects: float = 0.0
    """When all that was sent to it is there."""


class FakeWorkers:
    """All imaginary workers.

    Attributes
    ----------
    runs
        How often each item of each job was begun.
    """

    def __init__(
        self,
        agenda: Agenda,
        works: Iterable[Work],
        faults: Iterable[Fault],
        *,
        startup: Startup,
        latency: float,
        seed: int,
        rate: Rate | None = None,
    ) -> None:
        self._agenda = agenda
        self._rate = rate
        self._works = {work.id: work for work in works}
        self._startup = startup
        self._latency = latency
        self._chance = FaultDice(faults, seed)
        self._workers: dict[str, _Worker] = {}
        self._count = 0
        self.runs = {work.id: [0] * len(work.seconds) for work in self._works.values()}

    @property
    def faults(self) -> dict[str, int]:
        """How often each kind of fault has happened."""
        return dict(self._chance.happened)

    def add(self, work: Work) -> None:
        """Know one more job."""
        self._works[work.id] = work
        self.runs[work.id] = [0] * len(work.seconds)

    def is_under_way(self) -> bool:
        """Return whether a worker has something to do."""
        return any(worker.held for worker in self._workers.values())

    # -- what is asked, as `Backend` has it

    def start(self, workers: int) -> None:
        """Bring workers up."""
        for number in range(workers):
            self._start_one(number)

    def _start_one(self, number: int = 0) -> None:
        self._count += 1
        delay = self._startup.ready(number) + self._chance.dice.random() * self._startup.spread
        name = f"w{self._count}"
        self._agenda.at(self._agenda.now + delay, self._up, name)

    def _up(self, name: str) -> None:
        self._workers[name] = _Worker(name)
        self._agenda.report(WorkerUp(name))

    def submit(
        self,
        name: str,
        batch: int,
        job_id: str,
        first: int,
        count: int,
        lease: float | None = None,
    ) -> None:
        """Send a batch; it arrives a little later."""
        worker = self._workers.get(name)
        if worker is None:
            return
        load = _Batch(batch, self._works[job_id], first, first + count)
        if lease is not None:
            load.lease = lease
        worker.held[batch] = load
        throttled = self._chance.draw(Throttled)
        late = throttled.seconds * self._chance.dice.random() if throttled is not None else 0.0
        # What was sent before it arrives before it.
        worker.expects = max(worker.expects, self._agenda.now + self._latency + late)
        self._agenda.at(worker.expects, self._arrive, worker, load)

    def revoke(self, name: str, keep: int) -> None:
        """Take back what was not begun, but for the next `keep` items."""
        worker = self._workers.get(name)
        if worker is None:
            return
        for load in worker.held.values():
            begun = load.next
            if worker.running and load is worker.queue[0]:
                begun += bisect_right(load.ends, self._agenda.now) + 1
            kept = min(keep, max(0, load.stop - begun))
            keep -= kept
            self._cut(worker, load, begun + kept)

    def _cut(self, worker: _Worker, load: _Batch, stop: int) -> None:
        """A worker shall not run the items of a batch from `stop` on."""
        if stop >= load.stop:
            return
        agenda = self._agenda
        agenda.at(agenda.now + SETTLE_SECONDS, self._settle, worker, load, stop, load.stop)
        load.stop = stop
        if worker.running and load is worker.queue[0] and stop <= load.next + len(load.ends):
            del load.ends[stop - load.next :]
            load.then = "end"
            self._schedule(worker, load)

    def _settle(self, worker: _Worker, load: _Batch, first: int, stop: int) -> None:
        if worker.alive and load.id in worker.held:
            self._agenda.report(Revoked(worker.name, load.id, first, stop))

    def interrupt(self, name: str, job_id: str) -> None:
        """Stop what a worker does for a job."""
        worker = self._workers.get(name)
        if worker is None:
            return
        for load in list(worker.held.values()):
            if load.job.id != job_id:
                continue
            if worker.running and load is worker.queue[0]:
                self._interrupt_running(worker, load)
            else:
                self._cut(worker, load, load.next)

    def _interrupt_running(self, worker: _Worker, load: _Batch) -> None:
        now = self._agenda.now
        done = bisect_right(load.ends, now)
        current = load.next + done
        scripted = self._chance.of_job(load.job.id).get(current, ())
        if any(isinstance(fault, Stubborn) for fault in scripted):
            self._agenda.at(now + GRACE_SECONDS, self._kill, worker, "killed", load)
            self._cut(worker, load, current + 1)
            return
        if current < load.stop:
            self.runs[load.job.id][current] += 1
        old = load.stop
        del load.ends[done:]
        load.then, load.stop = "end", current
        worker.stamp += 1
        self._agenda.at(now + SETTLE_SECONDS, self._settle, worker, load, current, old)
        self._agenda.at(now, self._reach, worker, worker.stamp)

    def kill(self, name: str, reason: str) -> None:
        """End a worker."""
        worker = self._workers.get(name)
        if worker is not None:
            self._agenda.at(self._agenda.now + self._latency, self._kill, worker, reason, None)

    def _kill(self, worker: _Worker, reason: str, holding: _Batch | None) -> None:
        if holding is not None and holding.id not in worker.held:
            return  # it stopped in time
        self._die(worker, reason, "item")

    # -- what workers do

    def _arrive(self, worker: _Worker, load: _Batch) -> None:
        if worker.alive:
            worker.queue.append(load)
            if not worker.running:
                self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        """Plan the next stretch of the first batch in the queue."""
        load = worker.queue[0]
        worker.running = True
        self._plan(load)
        self._schedule(worker, load)
        timeout = load.job.timeout
        if timeout is not None:
            start = load.started
            for offset, end in enumerate(load.ends):
                if end - start > timeout:
                    when = start + timeout
                    self._agenda.at(when, self._overdue, worker, load, load.next + offset, end)
                start = end
            if load.then == "hang":
                index = load.next + len(load.ends)
                when = start + timeout
                self._agenda.at(when, self._overdue, worker, load, index, float("inf"))

    def _overdue(self, worker: _Worker, load: _Batch, item: int, end: float) -> None:
        running = worker.alive and worker.running and worker.queue[0] is load
        if running and item < load.stop and load.next <= item and self._agenda.now < end:
            self._agenda.report(Overdue(worker.name, load.id, item))

    def _plan(self, load: _Batch) -> None:
        load.started = now = self._agenda.now
        if load.began is None:
            load.began = now
        over = load.began + load.lease
        load.ends, load.errors, load.then, load.fault = [], {}, "end", None
        seconds, special = load.job.seconds, self._chance.of_job(load.job.id)
        for index in range(load.next, load.stop) if special else ():
            unreadable = [each for each in special.get(index, ()) if isinstance(each, Unreadable)]
            if any(self._chance.strikes(unreadable)):
                load.then = "unreadable"
                return
        deadline = now + FLUSH_SECONDS
        for index in range(load.next, load.stop):
            if now > deadline:
                load.then = "flush"
                return
            takes = seconds[index]
            for fault in self._chance.strikes(special.get(index, ())):
                if isinstance(fault, Slow):
                    takes *= fault.factor
                elif isinstance(fault, (Crash, Hang)):
                    load.then, load.fault = type(fault).__name__.lower(), fault
                    if now + (fault.seconds if isinstance(fault, Hang) else takes) > over:
                        load.then = "lease"
                    return
                elif isinstance(fault, Raises):
                    load.errors[index - load.next] = {"kind": "exception", "item": f"item {index}"}
            straggles = self._chance.draw(Stragglers)
            if straggles is not None:
                takes *= straggles.factor
            crash = self._chance.draw(Crashes)
            if crash is not None:
                load.then, load.fault = "crash", crash
                if now + takes > over:
                    load.then = "lease"
                return
            now += takes
            if now > over:
                load.then = "lease"
                return
            load.ends.append(now)
            if load.errors and load.job.stop_on_error and not load.job.retries:
                return

    def _schedule(self, worker: _Worker, load: _Batch) -> None:
        worker.stamp += 1
        when = load.ends[-1] if load.ends else load.started
        if load.then == "lease":
            assert load.began is not None
            when = load.began + load.lease
        elif load.then == "hang":
            when += load.fault.seconds
        elif load.then == "crash":
            when += self._work_of(load)
        self._agenda.at(max(when, self._agenda.now), self._reach, worker, worker.stamp)

    def _work_of(self, load: _Batch) -> float:
        """Return how long a worker is at the item that takes it down."""
        return load.job.seconds[load.next + len(load.ends)]

    def _reach(self, worker: _Worker, stamp: int) -> None:
        """What was planned has come to its end."""
        if stamp != worker.stamp or not worker.alive:
            return
        load = worker.queue[0]
        if load.then in ("crash", "hang"):
            self._die(worker, "died", getattr(load.fault, "known", "item"))
            return
        if load.then == "flush":
            self._send(worker, load)
            self._begin(worker)
            return
        self._charge(worker, load)
        self._send(worker, load)
        unreadable = load.then == "unreadable"
        if unreadable:
            for index in range(load.next, load.stop):
                self.runs[load.job.id][index] += 1
        expired = load.then == "lease"
        if expired:
            self.runs[load.job.id][load.next] += 1
        ended = BatchEnded(worker.name, load.id, load.ran, unreadable, expired)
        self._agenda.at(self._agenda.now + self._latency, self._ended, worker, ended)
        worker.queue.popleft()
        worker.running = False
        if worker.queue:
            self._begin(worker)

    def _charge(self, worker: _Worker, load: _Batch) -> None:
        """Say what a call has cost that ends now."""
        if self._rate is None:
            return
        now = self._agenda.now
        ran = now - (now if load.began is None else load.began)
        seconds = ran + (self._startup.billed if worker.is_cold else 0.0)
        worker.is_cold = False
        cost = self._rate.cost(seconds)
        if self._chance.draw(DearCalls):
            cost = self._rate.at_most(load.lease)
        if self._chance.draw(LostCharges):
            return
        late = self._chance.draw(LateCharges)
        arrives = now + self._latency + (late.seconds if late is not None else 0.0)
        charged = Charged(load.job.id, load.id, cost, seconds)
        self._agenda.at(arrives, self._agenda.report, charged)

    def _send(self, worker: _Worker, load: _Batch) -> None:
        """Send what ran since the last time."""
        count = len(load.ends)
        if not count:
            return
        runs = self.runs[load.job.id]
        for index in range(load.next, load.next + count):
            runs[index] += 1
        meta = BatchMeta(seconds=load.ends[-1] - load.started)
        errors = {offset: error for offset, error in load.errors.items() if offset < count}
        if errors:
            meta.errors = errors
        event = Results(worker.name, load.id, load.next, count, meta, None, None, 0, 0)
        load.next += count
        load.ran += count
        load.ends = []
        late = self._chance.draw(LateResults)
        arrives = self._agenda.now + self._latency + (late.seconds if late is not None else 0.0)
        if not self._chance.draw(LostResults):
            self._agenda.at(arrives, self._agenda.report, event)
            if self._chance.draw(DoubledResults):
                self._agenda.at(arrives, self._agenda.report, event)

    def _ended(self, worker: _Worker, event: BatchEnded) -> None:
        worker.held.pop(event.batch, None)
        self._agenda.report(event)

    def _die(self, worker: _Worker, reason: str, known: str) -> None:
        if not worker.alive:
            return
        batch = item = None
        if worker.running:
            load = worker.queue[0]
            done = bisect_right(load.ends, self._agenda.now)
            for index in range(load.next, min(load.stop, load.next + done + 1)):
                self.runs[load.job.id][index] += 1
            batch = load.id if known != "nothing" else None
            item = min(load.next + done, load.stop - 1) if known == "item" else None
        worker.alive = False
        for load in worker.held.values():
            self._charge(worker, load)
        self._agenda.at(self._agenda.now + self._latency, self._down, worker, batch, item, reason)
        self._start_one()

    def _down(self, worker: _Worker, batch: int | None, item: int | None, reason: str) -> None:
        del self._workers[worker.name]
        self._agenda.report(WorkerDown(worker.name, "simulated", batch, item, reason))
