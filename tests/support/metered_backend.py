"""A backend with a meter: real workers of another one, and imaginary prices for what they do.

What a cloud's bill does to a job can be seen with it on one machine: charges, leases, budgets. A call
is charged from when it was sent to when its end was heard of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace

from cloudbutton_backend.backends.protocol import (
    Backend,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    JobSpec,
    Limits,
    Results,
    WorkerDown,
)
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.cost.rates import Rate


class MeteredBackend:
    """Charges for the calls of `inner`, and ends those whose lease has run out.

    Parameters
    ----------
    first_wave, longest_call
        As in `Limits`.
    """

    def __init__(
        self,
        inner: Backend,
        rate: Rate,
        *,
        first_wave: int | None = None,
        longest_call: float = 900.0,
    ) -> None:
        self._inner = inner
        self._calls: dict[int, tuple[BatchCall, float]] = {}
        self.charges: list[Charged] = []
        """All that was charged."""
        self._limits = replace(
            inner.limits,
            rate=rate,
            first_wave=first_wave,
            longest_call=longest_call,
            queue_depth=1,
            can_revoke=False,
        )

    def __repr__(self) -> str:
        return f"<Metered {self._inner!r}: {len(self.charges)} calls charged>"

    @property
    def name(self) -> str:
        return f"metered {self._inner.name}"

    @property
    def limits(self) -> Limits:
        return self._limits

    def start(self) -> None:
        self._inner.start()

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        self._inner.prepare(spec, packages)

    def put(self, blob: Blob) -> None:
        self._inner.put(blob)

    def scale(self, workers: int) -> None:
        self._inner.scale(workers)

    def open_job(self, spec: JobSpec) -> None:
        self._inner.open_job(spec)

    def submit(self, call: BatchCall) -> None:
        self._calls[call.batch] = call, time.monotonic()
        self._inner.submit(call)

    def revoke(self, worker: str, keep: int) -> None:
        self._inner.revoke(worker, keep)

    def interrupt(self, worker: str, job_id: str) -> None:
        self._inner.interrupt(worker, job_id)

    def kill(self, worker: str, reason: str) -> None:
        self._inner.kill(worker, reason)

    def close_job(self, job_id: str) -> None:
        self._inner.close_job(job_id)

    def warm(self, modules: Sequence[str]) -> None:
        self._inner.warm(modules)

    def poll(self, timeout: float | None) -> Iterable[Event]:
        """Wait for events, and put the charges where the protocol wants them."""
        now = time.monotonic()
        ends = {
            began + call.lease: call.worker
            for call, began in self._calls.values()
            if call.lease is not None
        }
        if ends:
            left = max(0.0, min(ends) - now)
            timeout = left if timeout is None else min(timeout, left)
        events = list(self._inner.poll(timeout))
        now = time.monotonic()
        for end, worker in ends.items():
            if end <= now:
                self._inner.kill(worker, "lease")
        ended = {event.batch for event in events if isinstance(event, BatchEnded)}
        told: list[Event] = []
        for event in events:
            if isinstance(event, (Results, BatchEnded)) and event.batch in ended:
                self._charge(event.batch, now, told)
            elif isinstance(event, WorkerDown):
                for batch, (call, _) in list(self._calls.items()):
                    if call.worker == event.worker:
                        self._charge(batch, now, told)
            told.append(event)
        return told

    def _charge(self, batch: int, now: float, told: list[Event]) -> None:
        """Charge for a call, once."""
        if batch not in self._calls:
            return
        call, began = self._calls.pop(batch)
        rate = self._limits.rate
        assert rate is not None
        seconds = now - began
        # Another clock would have ended it in time.
        billed = seconds if call.lease is None else min(seconds, call.lease)
        charged = Charged(call.job_id, batch, rate.cost(billed), billed)
        self.charges.append(charged)
        told.append(charged)

    def wake(self) -> None:
        self._inner.wake()

    def close(self) -> None:
        self._inner.close()
