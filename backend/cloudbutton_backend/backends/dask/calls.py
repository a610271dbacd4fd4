"""Calls under way: each a task of Dask's, followed until its answer is here.

A slot is a place for one call at a time, which the dispatcher knows as a worker; where in the cluster a
call runs is the scheduler's business. There are more slots than threads, so that each thread finds its
next call beside it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from distributed import KilledWorker

from cloudbutton_backend.backends.dask.answers import (
    events_of_end,
    killed,
    read_answer,
    returned,
)
from cloudbutton_backend.backends.dask.cluster import ANSWER_WITHIN, Cluster
from cloudbutton_backend.backends.dask.data import JobData
from cloudbutton_backend.backends.dask.shipped import plugin_name, run_call, stop_calls
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchEnded,
    Call,
    Charged,
    Event,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.worker.frames import layout
from cloudbutton_backend.worker.lambda_records import BrokenSeal
from cloudbutton_backend.worker.segments import TornRecord

_LOG: Final = logging.getLogger(__name__)
ABANDON_AFTER: Final = 5.0
"""Seconds that a call which was told to stop has for its answer."""
INLINE: Final = 1 << 20
"""Items above this go to a worker's memory first: the scheduler is not to carry them."""
_CANCELLED: Final = (asyncio.CancelledError, concurrent.futures.CancelledError)
_IN_SILENCE: Final = 3
"""How often a call may come back for no fault of its own before that costs its items an attempt."""
_KEEP_JOBS: Final = 8
_HOUR: Final = 3600.0
Ready = concurrent.futures.Future[JobData]


@dataclass(eq=False, slots=True)
class Flight:
    """A call, from its submission to its end."""

    call: Call
    name: str
    ready: Ready
    placement: Mapping[str, Any]
    future: Any = None
    """Dask's, once the task is there."""
    sent_at: float | None = None
    released: bool = False
    """Whether nobody waits for it any more."""
    give_up_at: float | None = None
    """When to wait no longer, if it was told to stop."""
    alone: bool = False
    """Whether no other suspect was under way with it."""

    @property
    def key(self) -> str:
        """Of its task. Dask groups by what comes before the first dash: tasks of a job take alike."""
        return f"cloudbutton.{self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A call's answer that stays on the cluster."""

    first: int
    count: int
    future: Any
    key: bytes
    """With which it is sealed."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of a call: its answer, or the error it ended with."""

    flight: Flight
    answer: bytes | None
    error: BaseException | None


class Calls:
    """The calls on one cluster. Used on the driver's thread, but for what waits on Dask's.

    Parameters
    ----------
    land
        Takes what came of a call; called on Dask's thread.
    worker_hour
        US dollars that a worker costs in an hour; None if that is nobody's business.
    keep
        Whether answers stay on the cluster, beside what is collected.
    """

    def __init__(
        self,
        cluster: Cluster,
        land: Callable[[Landed], None],
        clock: Callable[[], float],
        worker_hour: float | None = None,
        keep: bool = False,
    ) -> None:
        self._cluster, self._land, self._clock = cluster, land, clock
        self._worker_hour, self._keep = worker_hour, keep
        self.kept: OrderedDict[str, list[Kept]] = OrderedDict()
        """Answers, by job; those of the last few."""
        self._token = uuid.uuid4().hex[:8]
        """Another process may number calls of the same job alike."""
        self._slots: dict[str, deque[Flight]] = {}
        self._made = 0
        self._suspects: set[tuple[str, int]] = set()
        """Items, by job, whose Dask workers died. Those of calls that only waited there are among them, so
        they are tried again one by one: who loses its workers then has done it."""
        self._on_trial: Flight | None = None
        self._awaiting_trial: deque[Flight] = deque()
        self._came_back: Counter[tuple[str, int]] = Counter()
        """By job and first item."""

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def n_flights(self) -> int:
        return sum(map(len, self._slots.values()))

    # -- slots

    def has(self, slot: str) -> bool:
        return slot in self._slots

    def add_slot(self) -> Event:
        """Have room for one more call at a time."""
        self._made += 1
        name = f"dask-{self._token[:4]}-{self._made}"
        self._slots[name] = deque()
        return WorkerUp(name)

    def idle(self) -> list[str]:
        """Return the slots that hold nothing."""
        return [name for name, flights in self._slots.items() if not flights]

    def end_slot(self, name: str, cause: str, reason: str) -> list[Event]:
        """Have room for one call fewer, and drop what was there."""
        flights = self._slots.pop(name)
        charges = [self._charge(flight) for flight in flights]
        for flight in flights:
            self._release(flight)
        first = flights[0].call.batch if flights else None
        return [*filter(None, charges), WorkerDown(name, cause, first, None, reason)]

    def give_back(self) -> list[Event]:
        """The cluster is gone: return all calls, at no attempt's cost, and have no slots."""
        events: list[Event] = []
        for name, flights in self._slots.items():
            for flight in flights:
                events += self._charged(flight, returned(flight.call))
            events.append(WorkerDown(name, "the Dask cluster is gone", None, None, "killed"))
        for flights in self._slots.values():
            for flight in flights:
                self._release(flight)
        self._slots.clear()
        return events

    # -- out

    def submit(self, call: Call, ready: Ready, placement: Mapping[str, Any]) -> None:
        slot = self._slots.get(call.worker)
        if slot is None:
            return
        name = f"{call.job_id}-{self._token}-{call.batch}"
        slot.append(Flight(call, name, ready, placement))
        if len(slot) == 1:
            self._send(slot[0])

    def _send(self, flight: Flight) -> None:
        call = flight.call
        if call.count == 1 and (call.job_id, call.first) in self._suspects:
            if self._on_trial is not None:
                self._awaiting_trial.append(flight)
                return
            self._on_trial, flight.alone = flight, True
        flight.sent_at = self._clock()
        self._cluster.client.loop.add_callback(self._fly, flight)

    async def _fly(self, flight: Flight) -> None:
        """Have Dask run a call, and wait for its answer; on Dask's thread."""
        try:
            data = await asyncio.wrap_future(flight.ready)
            future = await self._submitted(flight, data)
            # ends: with the call's lease or its cancelling at the latest, or with the scheduler
            answer = await self._cluster.client.gather(future)
            del future
        except BaseException as error:  # cancellation is one of the answers
            self._land(Landed(flight, None, error))
        else:
            self._land(Landed(flight, answer, None))

    async def _submitted(self, flight: Flight, data: JobData) -> Any:
        call, client = flight.call, self._cluster.client
        pieces, length = layout(call.parts)
        items: Any = b"".join(pieces)
        if length > INLINE:
            # ends: Dask drops a worker that it has not heard of for some minutes
            (items,) = await client.scatter([items], hash=False)
        order = {
            "name": flight.name,
            "key": flight.key,
            "batch": call.batch,
            "first": call.first,
            "count": call.count,
            "lease": call.lease,
        }
        if flight.released:
            raise asyncio.CancelledError
        flight.future = client.submit(
            run_call,
            plugin_name(),
            order,
            items,
            data.job,
            data.digests,
            *data.blobs,
            key=flight.key,
            pure=False,
            fifo_timeout=0,  # first come, first served
            **flight.placement,
        )
        return flight.future

    def interrupt(self, worker: str, job_id: str) -> list[Event]:
        """Have a slot's calls of a job stop; return the events of those that were not sent."""
        slot = self._slots.get(worker, deque())
        events: list[Event] = []
        for flight in [flight for flight in slot if flight.call.job_id == job_id]:
            if flight.sent_at is None:
                slot.remove(flight)
                flight.released = True
                events += self._charged(flight, [BatchEnded(worker, flight.call.batch, 0)])
            elif flight.give_up_at is None:
                flight.give_up_at = self._clock() + ABANDON_AFTER
                self._cluster.client.loop.add_callback(self._stop, [flight.name])
        return events

    async def _stop(self, names: list[str]) -> None:
        with contextlib.suppress(
            Exception
        ):  # who cannot be told is waited for no longer in the end
            await self._cluster.client.run(
                stop_calls,
                plugin_name(),
                names,
                on_error="ignore",
                callback_timeout=ANSWER_WITHIN,
            )

    def _release(self, flight: Flight) -> None:
        """Have Dask forget a call: what runs it hears of that, and stops."""
        flight.released = True
        if flight is self._on_trial:
            self._on_trial = None
            while self._awaiting_trial and self._on_trial is None:
                waiting = self._awaiting_trial.popleft()
                if not waiting.released:
                    self._send(waiting)
        future, flight.future = flight.future, None
        if future is not None:
            with contextlib.suppress(Exception):  # the client is closed
                future.release()

    # -- in

    def next_wake(self) -> float | None:
        """Return when `look_after` has something to do."""
        flights = (flight for slot in self._slots.values() for flight in slot)
        return min(
            (each.give_up_at for each in flights if each.give_up_at is not None), default=None
        )

    def look_after(self) -> list[Event]:
        """Give up those that do not answer."""
        now = self._clock()
        events: list[Event] = []
        for name, slot in self._slots.items():
            if slot and slot[0].give_up_at is not None and slot[0].give_up_at <= now:
                flight = slot.popleft()
                events += self._charged(flight, [BatchEnded(name, flight.call.batch, 0)])
                self._release(flight)
                self._next(name)
        return events

    def _next(self, name: str) -> None:
        slot = self._slots[name]
        if slot and slot[0].sent_at is None:
            self._send(slot[0])

    def landed(self, landed: Landed) -> tuple[list[Event], str | None]:
        """Return the events of a call that is over, and the job whose data have to be sent again."""
        flight = landed.flight
        name, job_id = flight.call.worker, flight.call.job_id
        slot = self._slots.get(name)
        if slot is None or flight not in slot:
            return [], None  # it was given up
        stale = None
        if landed.answer is not None:
            events = self._answered(flight, landed.answer)
        elif isinstance(landed.error, _CANCELLED):
            if self._cluster.is_lost:
                return [], None  # `give_back` sees to all of them
            events, stale = self._cancelled(flight), job_id
        else:
            events = self._failed(flight, landed.error)
        slot.remove(flight)
        self._release(flight)
        if any(isinstance(event, WorkerDown) for event in events):
            for waiting in slot:
                events[:0] = self._charged(waiting, [])
            del self._slots[name]
            events.append(self.add_slot())
        else:
            self._next(name)
        return events, stale

    def _answered(self, flight: Flight, answer: bytes) -> list[Event]:
        call = flight.call
        self._came_back.pop((call.job_id, call.first), None)
        try:
            results, ending = read_answer(call, answer, flight.ready.result(0).key)
        except (BrokenSeal, TornRecord) as error:
            cause = f"results are damaged, and nothing of them was used: {error}"
            return self._charged(
                flight, [BatchEnded(call.worker, call.batch, 0), BackendDown(cause)]
            )
        ends = events_of_end(call, ending)
        if self._keep and results:
            self._keep_answer(flight)
        if self._worker_hour is None:
            return [*results, *ends]
        price = self._worker_hour / _HOUR / max(1, ending["threads"])
        charge = Charged(call.job_id, call.batch, price * ending["seconds"], ending["seconds"])
        return [*results[:-1], charge, *results[-1:], *ends]

    def _keep_answer(self, flight: Flight) -> None:
        call = flight.call
        kept = self.kept.setdefault(call.job_id, [])
        kept.append(Kept(call.first, call.count, flight.future, flight.ready.result(0).key))
        flight.future = None
        if len(self.kept) > _KEEP_JOBS:
            self.kept.popitem(last=False)

    def _cancelled(self, flight: Flight) -> list[Event]:
        """A call's task is gone: what it needs was lost with a worker, or somebody cancelled it."""
        call = flight.call
        self._came_back[call.job_id, call.first] += 1
        if self._came_back[call.job_id, call.first] < _IN_SILENCE:
            return self._charged(flight, returned(call))
        cause = "its task on the cluster was cancelled again and again"
        return self._charged(flight, [WorkerDown(call.worker, cause, call.batch, call.first)])

    def _failed(self, flight: Flight, error: BaseException | None) -> list[Event]:
        """Return the events of a call that Dask ended."""
        call = flight.call
        if isinstance(error, KilledWorker):
            if call.count == 1 and not flight.alone:
                self._suspects.add((call.job_id, call.first))
            return self._charged(flight, killed(call, error, flight.alone))
        cause = f"its task on the cluster failed: {type(error).__name__}: {error}"
        item = call.first if call.count == 1 else None
        return self._charged(flight, [WorkerDown(call.worker, cause, call.batch, item)])

    # -- money

    def _charge(self, flight: Flight) -> Charged | None:
        """Return the price of a call that was given up: all the time since it was sent, at most."""
        if self._worker_hour is None:
            return None
        call = flight.call
        seconds = 0.0 if flight.sent_at is None else self._clock() - flight.sent_at
        seconds = seconds if call.lease is None else min(seconds, call.lease)
        return Charged(call.job_id, call.batch, seconds * self._worker_hour / _HOUR, seconds)

    def _charged(self, flight: Flight, events: list[Event]) -> list[Event]:
        charge = self._charge(flight)
        return events if charge is None else [charge, *events]
