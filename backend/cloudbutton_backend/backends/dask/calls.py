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
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from distributed import KilledWorker

from cloudbutton_backend.backends.dask.call_results import (
    events_of_end,
    is_whole,
    killed,
    read_answer,
    returned,
)
from cloudbutton_backend.backends.dask.cluster import ANSWER_WITHIN, DaskCluster
from cloudbutton_backend.backends.dask.detached import parts_of, publish, unpublish
from cloudbutton_backend.backends.dask.in_flight import DaskCall, FinishedCall, KeptResult, Ready
from cloudbutton_backend.backends.dask.scattered_data import JobData
from cloudbutton_backend.backends.dask.shipped_code import plugin_name, run_call, stop_calls
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import BrokenSeal
from cloudbutton_backend.worker.wire import layout

if TYPE_CHECKING:
    from cloudbutton_backend.worker.dask.process_host import CallFields

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


class DaskCalls:
    """The calls on one cluster. Used on the driver's thread, but for what waits on Dask's.

    Parameters
    ----------
    report
        Called on Dask's thread with each call that is over.
    worker_hour
        US dollars that a worker costs in an hour; None if calls have no price.
    keep_results
        Whether answers stay on the cluster after they were collected.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        report: Callable[[FinishedCall], None],
        clock: Callable[[], float],
        worker_hour: float | None = None,
        keep_results: bool = False,
    ) -> None:
        self._cluster, self._report, self._clock = cluster, report, clock
        self._worker_hour, self._keep_results = worker_hour, keep_results
        self.kept: OrderedDict[str, list[KeptResult]] = OrderedDict()
        """Answers, by job; those of the last few."""
        self._token = uuid.uuid4().hex[:8]
        """Another process may number calls of the same job alike."""
        self._slots: dict[str, DaskCall | None] = {}
        self._made = 0
        self._suspects: set[tuple[str, int]] = set()
        """Items, by job, whose Dask workers died. Those of calls that only waited there are among them, so
        they are tried again one by one: who loses its workers then has done it."""
        self._on_trial: DaskCall | None = None
        self._awaiting_trial: deque[DaskCall] = deque()
        self._returned: Counter[tuple[str, int]] = Counter()
        """By job and first item."""
        self._seconds_per_item: dict[str, float] = {}
        """Seconds that an item takes, by job."""
        self._collected: list[str] = []
        """Names of calls that are over, which the cluster need not keep."""
        self._tidying: concurrent.futures.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def in_flight(self) -> list[DaskCall]:
        """Return the calls under way."""
        return [flight for flight in self._slots.values() if flight is not None]

    # -- slots

    def has(self, slot: str) -> bool:
        return slot in self._slots

    def add_slot(self) -> Event:
        """Add room for one more call at a time."""
        self._made += 1
        name = f"dask-{self._token[:4]}-{self._made}"
        self._slots[name] = None
        return WorkerUp(name)

    def idle(self) -> list[str]:
        """Return the slots that hold nothing."""
        return [name for name, flight in self._slots.items() if flight is None]

    def end_slot(self, name: str, cause: str, reason: str) -> list[Event]:
        """Remove a slot, and drop its call."""
        flight = self._slots.pop(name)
        if flight is None:
            return [WorkerDown(name, cause, None, None, reason)]
        events = self._charged(flight, [WorkerDown(name, cause, flight.call.batch, None, reason)])
        self._drop(flight)
        return events

    def return_all(self) -> list[Event]:
        """Return all calls of a cluster that is gone, at no attempt's cost, and remove all slots."""
        events: list[Event] = []
        for name, flight in self._slots.items():
            if flight is not None:
                events += self._charged(flight, returned(flight.rest))
            events.append(WorkerDown(name, "the Dask cluster is gone", None, None, "killed"))
        for flight in self.in_flight():
            flight.outlives = True
            self._release(flight)
        self._slots.clear()
        return events

    # -- what the cluster keeps

    def published(self) -> list[str]:
        """Return the names of calls that the cluster keeps."""
        kept = (flight.published for flight in self.in_flight())
        return [*self._collected, *filter(None, kept)]

    def unpublish_finished(self, names: Iterable[str] = ()) -> None:
        """Make the cluster drop these calls and all that are over."""
        names = [*names, *self._collected]
        self._collected.clear()
        if names and not self._cluster.is_lost:
            client = self._cluster.client
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._tidying = asyncio.run_coroutine_threadsafe(
                    unpublish(client, names), client.loop.asyncio_loop
                )

    def close(self) -> None:
        """Make the cluster drop calls that are over, and wait briefly for it."""
        self.unpublish_finished()
        if self._tidying is not None and not self._cluster.is_lost:
            concurrent.futures.wait([self._tidying], ANSWER_WITHIN)

    def close_job(self, job_id: str) -> None:
        """Drop what is known of a job that is over."""
        self._seconds_per_item.pop(job_id, None)
        self.unpublish_finished()

    # -- out

    def submit(
        self, call: BatchCall, ready: Ready, placement: Mapping[str, Any], lasting: bool = False
    ) -> None:
        if call.worker in self._slots:
            name = f"{call.job_id}-{self._token}-{call.batch}"
            flight = self._slots[call.worker] = DaskCall(call, name, ready, placement, lasting)
            self._send(flight)

    def _send(self, flight: DaskCall) -> None:
        call = flight.call
        if call.count == 1 and (call.job_id, call.first) in self._suspects:
            if self._on_trial is not None:
                self._awaiting_trial.append(flight)
                return
            self._on_trial, flight.alone = flight, True
        flight.sent_at = self._clock()
        self._cluster.client.loop.add_callback(self._run, flight)

    async def _run(self, flight: DaskCall) -> None:
        """Submit a call to Dask and wait for its answers; on Dask's thread."""
        try:
            await self._submit(flight, await asyncio.wrap_future(flight.ready))
            for number in range(len(flight.parts)):
                if flight.released:
                    return
                # ends: with the call's lease or its cancelling at the latest, or with the scheduler
                answer = await self._cluster.client.gather(flight.futures[number])
                self._report(FinishedCall(flight, answer, None))
        except BaseException as error:  # cancellation is one of the answers
            self._report(FinishedCall(flight, None, error))

    async def _submit(self, flight: DaskCall, data: JobData) -> None:
        call, client = flight.call, self._cluster.client
        pieces, length = layout(call.parts)
        items: Any = b"".join(pieces)
        flight.parts = [call]
        if flight.lasting:
            flight.parts = parts_of(call, length, self._seconds_per_item.get(call.job_id))
        if length > INLINE // len(flight.parts):
            # ends: Dask drops a worker that it has not heard of for some minutes
            (items,) = await client.scatter([items], hash=False)
        if flight.released or flight.give_up_at is not None:
            raise asyncio.CancelledError
        for part, name in zip(flight.parts, flight.names):
            # Dask groups by what comes before the first dash: tasks of a job take alike.
            key = f"cloudbutton.{name}"
            order: CallFields = {
                "name": name,
                "key": key,
                "batch": call.batch,
                "first": call.first,
                "skip": part.first - call.first,
                "count": part.count,
                "lease": call.lease,
            }
            future = client.submit(
                run_call,
                plugin_name(),
                order,
                items,
                data.job,
                data.digests,
                *data.blobs,
                key=key,
                pure=False,
                fifo_timeout=0,  # first come, first served
                **flight.placement,
            )
            flight.futures.append(future)
        if flight.lasting:
            await self._publish(flight)

    async def _publish(self, flight: DaskCall) -> None:
        """Publish a call, so that it goes on when this process ends."""
        name = flight.published = f"cloudbutton-{flight.name}"  # see `prefix_of`
        try:
            await publish(self._cluster.client, name, flight.parts, flight.futures)
        except Exception as error:  # it runs, and its answer is collected while we live
            _LOG.warning("call %s will not outlive this process: %r", flight.name, error)
        if flight.released and not flight.outlives:
            await unpublish(self._cluster.client, [name])

    def interrupt(self, worker: str, job_id: str) -> list[Event]:
        """Stop a slot's call if it is of this job; return the events of one that was not sent."""
        flight = self._slots.get(worker)
        if flight is None or flight.call.job_id != job_id:
            return []
        if flight.sent_at is None:
            return self._give_up(flight)
        if flight.give_up_at is None:
            flight.give_up_at = self._clock() + ABANDON_AFTER
            self._cluster.client.loop.add_callback(self._stop, flight)
        return []

    def _give_up(self, flight: DaskCall) -> list[Event]:
        """Wait no longer for a call."""
        call = flight.call
        self._slots[call.worker] = None
        events = self._charged(flight, [BatchEnded(call.worker, call.batch, 0)])
        self._drop(flight)
        return events

    async def _stop(self, flight: DaskCall) -> None:
        try:
            told = await self._cluster.client.run(
                stop_calls,
                plugin_name(),
                flight.names,
                on_error="ignore",
                callback_timeout=ANSWER_WITHIN,
            )
        except Exception:  # in the end, those that cannot be notified are given up
            return
        if not told:  # there is no worker that could run it
            self._report(FinishedCall(flight, None, asyncio.CancelledError()))

    def _release(self, flight: DaskCall) -> None:
        """Release a call's futures: Dask stops what runs it."""
        flight.released = True
        if flight is self._on_trial:
            self._on_trial = None
            while self._awaiting_trial and self._on_trial is None:
                waiting = self._awaiting_trial.popleft()
                if not waiting.released:
                    self._send(waiting)
        futures, flight.futures = flight.futures, []
        for future in filter(None, futures):
            with contextlib.suppress(Exception):  # the client is closed
                future.release()

    def _drop(self, flight: DaskCall) -> None:
        """Release a call that is over or given up, and unpublish it later."""
        if flight.published is not None:
            self._collected.append(flight.published)
        self._release(flight)

    # -- in

    def next_wake(self) -> float | None:
        """Return when `check_progress` has something to do."""
        times = (flight.give_up_at for flight in self.in_flight())
        return min((time for time in times if time is not None), default=None)

    def check_progress(self) -> list[Event]:
        """Give up calls that were told to stop and have not answered in time."""
        now = self._clock()
        events: list[Event] = []
        for flight in self.in_flight():
            if flight.give_up_at is not None and flight.give_up_at <= now:
                events += self._give_up(flight)
        return events

    def finish(self, finished: FinishedCall) -> tuple[list[Event], str | None]:
        """Return the events of a call that is over, and the job whose data have to be sent again."""
        flight = finished.flight
        name, job_id = flight.call.worker, flight.call.job_id
        if self._slots.get(name) is not flight:
            return [], None  # it was given up
        stale = None
        if finished.answer is not None:
            events, is_over = self._answered(flight, finished.answer)
            if not is_over:
                return events, None
        elif isinstance(finished.error, _CANCELLED):
            if self._cluster.is_lost:
                return [], None  # `return_all` sees to all of them
            events, stale = self._cancelled(flight), job_id
        else:
            events = self._failed(flight, finished.error)
        self._slots[name] = None
        self._drop(flight)
        if any(isinstance(event, WorkerDown) for event in events):
            del self._slots[name]
            events.append(self.add_slot())
        return events, stale

    def _answered(self, flight: DaskCall, answer: bytes) -> tuple[list[Event], bool]:
        """Return the events of a task's answer, and whether its call is over."""
        call, part = flight.call, flight.parts[flight.answered]
        self._returned.pop((call.job_id, part.first), None)
        try:
            results, report = read_answer(part, answer, flight.ready.result(0).key)
        except (BrokenSeal, TornRecord) as error:
            cause = f"results are damaged, and nothing of them was used: {error}"
            damaged: list[Event] = [BatchEnded(call.worker, call.batch, 0), BackendDown(cause)]
            return self._charged(flight, damaged), True
        if results:
            ran = sum(each.count for each in results)
            self._seconds_per_item[call.job_id] = sum(each.meta.seconds for each in results) / ran
            if self._keep_results:
                self._keep_answer(call.job_id, part, flight)
        flight.answered += 1
        flight.seconds += report.seconds
        flight.cost += (self._worker_hour or 0) / _HOUR / max(1, report.threads) * report.seconds
        if flight.answered < len(flight.parts) and is_whole(part, report):
            return [*results], False
        ends = events_of_end(part, report)
        if self._worker_hour is None:
            return [*results, *ends], True
        charge = Charged(call.job_id, call.batch, flight.cost, flight.seconds)
        return [*results[:-1], charge, *results[-1:], *ends], True

    def _keep_answer(self, job_id: str, part: BatchCall, flight: DaskCall) -> None:
        kept = self.kept.setdefault(job_id, [])
        future, flight.futures[flight.answered] = flight.futures[flight.answered], None
        kept.append(KeptResult(part.first, part.count, future, flight.ready.result(0).key))
        if len(self.kept) > _KEEP_JOBS:
            self.kept.popitem(last=False)

    def _cancelled(self, flight: DaskCall) -> list[Event]:
        """A call's task is gone: what it needs was lost with a worker, or it was cancelled."""
        call = flight.rest
        self._returned[call.job_id, call.first] += 1
        if self._returned[call.job_id, call.first] < _IN_SILENCE:
            return self._charged(flight, returned(call))
        cause = "its task on the cluster was cancelled again and again"
        return self._charged(flight, [WorkerDown(call.worker, cause, call.batch, call.first)])

    def _failed(self, flight: DaskCall, error: BaseException | None) -> list[Event]:
        """Return the events of a call that Dask ended."""
        call = flight.rest
        if isinstance(error, KilledWorker):
            if call.count == 1 and not flight.alone:
                self._suspects.add((call.job_id, call.first))
            return self._charged(flight, killed(call, error, flight.alone))
        cause = f"its task on the cluster failed: {type(error).__name__}: {error}"
        item = call.first if call.count == 1 else None
        return self._charged(flight, [WorkerDown(call.worker, cause, call.batch, item)])

    # -- money

    def _charge(self, flight: DaskCall) -> Charged | None:
        """Return the price of a call that was given up: all the time since it was sent, at most."""
        if self._worker_hour is None:
            return None
        call = flight.call
        seconds = 0.0 if flight.sent_at is None else self._clock() - flight.sent_at
        seconds = seconds if call.lease is None else min(seconds, call.lease)
        seconds = max(seconds, flight.seconds)  # its tasks may have run side by side
        return Charged(call.job_id, call.batch, seconds * self._worker_hour / _HOUR, seconds)

    def _charged(self, flight: DaskCall, events: list[Event]) -> list[Event]:
        charge = self._charge(flight)
        return events if charge is None else [charge, *events]
