"""Calls under way: each a task of Dask's, followed until its answer is here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from distributed import KilledWorker

from cloudbutton_backend.backends.dask.answers import events_of_end, read_answer
from cloudbutton_backend.backends.dask.cluster import Cluster
from cloudbutton_backend.backends.dask.data import JobData
from cloudbutton_backend.backends.dask.shipped import plugin_name, run_call, stop_calls
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchEnded,
    Call,
    Event,
    JobSpec,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.worker.frames import layout
from cloudbutton_backend.worker.lambda_records import BrokenSeal
from cloudbutton_backend.worker.segments import TornRecord

_LOG: Final = logging.getLogger(__name__)
_CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)


ABANDON_AFTER: Final = 5.0
"""Seconds that a call which was told to stop has for its answer."""


@dataclass(eq=False, slots=True)
class Flight:
    """A call, from its submission to its end."""

    call: Call
    spec: JobSpec
    data: JobData
    name: str
    future: Any = None
    """Dask's, once it was sent."""
    give_up_at: float | None = None
    """When to wait no longer, if it was told to stop."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of a call: its answer, or the error it ended with."""

    flight: Flight
    answer: bytes | None
    error: BaseException | None


class Calls:
    """The calls on one cluster. Used on the driver's thread only.

    Parameters
    ----------
    land
        Takes what came of a call; called on Dask's thread.
    """

    def __init__(
        self, cluster: Cluster, land: Callable[[Landed], None], clock: Callable[[], float]
    ) -> None:
        self._cluster, self._land, self._clock = cluster, land, clock
        self._token = uuid.uuid4().hex[:12]
        """Another process may number calls of the same job alike."""
        self._slots: dict[str, deque[Flight]] = {}
        self._made = 0

    def __len__(self) -> int:
        return len(self._slots)

    # -- room

    def add_slot(self) -> Event:
        """Have room for one more call at a time."""
        self._made += 1
        name = f"dask-{self._token[:4]}-{self._made}"
        self._slots[name] = deque()
        return WorkerUp(name)

    def idle(self) -> list[str]:
        """Return the slots that hold nothing."""
        return [name for name, flights in self._slots.items() if not flights]

    def has(self, name: str) -> bool:
        return name in self._slots

    def drop_slot(self, name: str, cause: str, reason: str) -> Event:
        """Have room for one call fewer."""
        flights = self._slots.pop(name)
        for flight in flights:
            self._release(flight)
        first = next(iter(flights), None)
        return WorkerDown(name, cause, None if first is None else first.call.batch, None, reason)

    def drop_all(self, cause: str) -> list[Event]:
        """The cluster is gone."""
        return [self.drop_slot(name, cause, "killed") for name in list(self._slots)]

    # -- out

    def submit(self, call: Call, spec: JobSpec, data: JobData) -> None:
        slot = self._slots.get(call.worker)
        if slot is None:
            return
        slot.append(Flight(call, spec, data, f"{call.job_id}/{self._token}/{call.batch}"))
        if len(slot) == 1:
            self._send(slot[0])

    def _send(self, flight: Flight) -> None:
        call, data, client = flight.call, flight.data, self._cluster.client
        pieces, _ = layout(call.parts)
        key = f"cloudbutton-{flight.name}"
        order = {
            "name": flight.name,
            "key": key,
            "batch": call.batch,
            "first": call.first,
            "count": call.count,
            "lease": call.lease,
            "items": b"".join(pieces),
        }
        flight.future = client.submit(
            run_call,
            plugin_name(),
            order,
            data.job,
            data.digests,
            *data.blobs,
            key=key,
            pure=False,
        )
        client.loop.add_callback(self._follow, flight)

    async def _follow(self, flight: Flight) -> None:
        """Wait for a call's answer, on Dask's thread."""
        try:
            answer = await self._cluster.client.gather(flight.future)
        except BaseException as error:  # cancellation is one of the answers
            self._land(Landed(flight, None, error))
        else:
            self._land(Landed(flight, answer, None))

    def interrupt(self, worker: str, job_id: str) -> list[Event]:
        """Have a slot's calls of a job stop; return the events of those that have not begun."""
        slot = self._slots.get(worker, deque())
        events: list[Event] = []
        for flight in [flight for flight in slot if flight.call.job_id == job_id]:
            if flight.future is None:
                slot.remove(flight)
                events.append(BatchEnded(worker, flight.call.batch, 0))
            elif flight.give_up_at is None:
                flight.give_up_at = self._clock() + ABANDON_AFTER
                self._cluster.client.loop.add_callback(self._stop, [flight.name])
        return events

    async def _stop(self, names: list[str]) -> None:
        with contextlib.suppress(
            Exception
        ):  # who cannot be told is waited for no longer in the end
            await self._cluster.client.run(stop_calls, plugin_name(), names, on_error="ignore")

    def _release(self, flight: Flight) -> None:
        """Have Dask forget a call: what runs it hears of that."""
        future, flight.future = flight.future, None
        if future is not None:
            future.release()

    # -- in

    def next_wake(self) -> float | None:
        """Return when `look_after` has something to do."""
        flights = (flight for slot in self._slots.values() for flight in slot)
        return min((f.give_up_at for f in flights if f.give_up_at is not None), default=None)

    def look_after(self) -> list[Event]:
        """Give up those that do not answer."""
        now = self._clock()
        events: list[Event] = []
        for name, slot in self._slots.items():
            if slot and slot[0].give_up_at is not None and slot[0].give_up_at <= now:
                flight = slot.popleft()
                self._release(flight)
                events.append(BatchEnded(name, flight.call.batch, 0))
                self._next(name)
        return events

    def _next(self, name: str) -> None:
        slot = self._slots[name]
        if slot and slot[0].future is None:
            self._send(slot[0])

    def landed(self, landed: Landed) -> list[Event]:
        """Return the events of a call that is over."""
        flight = landed.flight
        name, call = flight.call.worker, flight.call
        slot = self._slots.get(name)
        if slot is None or flight not in slot:
            return []  # it was given up
        slot.remove(flight)
        self._release(flight)
        if landed.answer is None:
            events = self._failed(flight, landed.error)
        else:
            try:
                results, ending = read_answer(call, landed.answer, flight.data.key)
            except (BrokenSeal, TornRecord) as error:
                events = [
                    BatchEnded(name, call.batch, 0),
                    BackendDown(f"results are damaged: {error}"),
                ]
            else:
                events = [*results, *events_of_end(call, ending, flight.spec.memory)]
        if any(isinstance(event, WorkerDown) for event in events):
            for waiting in slot:
                self._release(waiting)
            del self._slots[name]
            events.append(self.add_slot())
        else:
            self._next(name)
        return events

    def _failed(self, flight: Flight, error: BaseException | None) -> list[Event]:
        """Return the events of a call that Dask ended."""
        call = flight.call
        item = call.first if call.count == 1 else None
        if isinstance(error, KilledWorker):
            cause = f"each Dask worker that ran it died: {error}"
        else:
            cause = f"{type(error).__name__}: {error}"
        return [WorkerDown(call.worker, cause, call.batch, item)]
