"""Imaginary workers behind the protocol of backends, for a real driver on a virtual clock."""

from __future__ import annotations

import heapq
import math
import pickle
import threading
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from typing import Any

from cloudbutton_backend.backends.protocol import BatchCall, Event, JobSpec, Limits, Results
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.worker.wire import layout
from tests.support.fake_backend import FakeWorkers
from tests.support.scripted_faults import Fault
from tests.support.worker_startup import Startup
from tests.support.workload import Work

PATIENCE = 30.0


class SimulatedBackend:
    """Time passes while it is polled, and only then. The value of an item is its index.

    Parameters
    ----------
    loses
        Whether what is sent, or reported, gets lost without a trace.
    unknown
        What jobs take that are not among `works`; None where there are none.
    before_poll
        Called on the driver's thread, between two of its turns.
    """

    name = "simulated"

    def __init__(
        self,
        works: Sequence[Work],
        *,
        limits: Limits | None = None,
        faults: Iterable[Fault] = (),
        unknown: Sequence[float] | None = None,
        loses: Callable[[BatchCall | Event], bool] = lambda _: False,
        before_poll: Callable[[], None] = lambda: None,
        seed: int = 0,
    ) -> None:
        self.limits = limits or Limits(workers=2, can_revoke=True)
        self.now = 0.0
        self.before_poll = before_poll
        self._loses, self._unknown = loses, unknown
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self._events: list[Event] = []
        self._wakes, self._goes = threading.Event(), threading.Event()
        self._workers = FakeWorkers(
            self,
            works,
            faults,
            startup=Startup(),
            latency=0.0001,
            seed=seed,
            rate=self.limits.rate,
        )

    def clock(self) -> float:
        return self.now

    def go(self) -> None:
        """Let time pass from now on."""
        self._goes.set()
        self.wake()

    # -- what the workers need

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._agenda, (when, self._numbers, act, args))

    def report(self, event: Event) -> None:
        if isinstance(event, Results):
            values = list(range(event.first, event.first + event.count))
            pieces, length = layout([pickle.dumps(values)])
            event = replace(event, payload=b"".join(pieces), length=length)
        if not self._loses(event):
            self._events.append(event)

    # -- the protocol

    def start(self) -> None:
        self._workers.start(self.limits.workers)

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None: ...

    def put(self, blob: Blob) -> None: ...

    def scale(self, workers: int) -> None: ...

    def open_job(self, spec: JobSpec) -> None:
        if self._unknown is not None:
            self._workers.add(Work(seconds=self._unknown, id=spec.id))

    def submit(self, call: BatchCall) -> None:
        if not self._loses(call):
            self._workers.submit(
                call.worker, call.batch, call.job_id, call.first, call.count, call.lease
            )

    def revoke(self, worker: str, keep: int) -> None:
        self._workers.revoke(worker, keep)

    def interrupt(self, worker: str, job_id: str) -> None:
        self._workers.interrupt(worker, job_id)

    def kill(self, worker: str, reason: str) -> None:
        self._workers.kill(worker, reason)

    def close_job(self, job_id: str) -> None: ...

    def warm(self, modules: Sequence[str]) -> None: ...

    def is_under_way(self) -> bool:
        return self._workers.is_under_way()

    def poll(self, timeout: float | None) -> Iterable[Event]:
        self.before_poll()
        if not self._goes.is_set():
            self._wakes.wait(PATIENCE)
        limit = math.inf if timeout is None else self.now + timeout
        while self._goes.is_set() and not self._events and not self._wakes.is_set():
            if self._agenda and self._agenda[0][0] <= limit:
                self.now, _, act, args = heapq.heappop(self._agenda)
                act(*args)
            elif timeout is None:
                assert self._wakes.wait(PATIENCE), "nothing will happen any more"
            else:
                self.now = limit
                break
        self._wakes.clear()
        events, self._events = self._events, []
        return events

    def wake(self) -> None:
        self._wakes.set()

    def close(self) -> None: ...
