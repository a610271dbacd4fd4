"""The calls under way, on the backend's event loop.

::

    submit ─▶ worker's slot ─▶ RemoteJob.encode ─▶ Invoker ─▶ answer ─▶ events ─▶ emit
                        │                              ▲
    interrupt, kill ────┴─▶ stop object in the bucket  └─ AimdLimiter: as many as AWS takes
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from cloudbutton_backend.backends.aws_lambda import call_encoding
from cloudbutton_backend.backends.aws_lambda.bucket import Bucket
from cloudbutton_backend.backends.aws_lambda.call_encoding import imports_in
from cloudbutton_backend.backends.aws_lambda.call_results import (
    LONGEST_CALL,
    Attempt,
    CallAccountant,
    at_most,
    lease_for,
)
from cloudbutton_backend.backends.aws_lambda.connection import (
    DeployedFunctions,
    LambdaConnection,
    connect,
)
from cloudbutton_backend.backends.aws_lambda.detached import DetachedResults
from cloudbutton_backend.backends.aws_lambda.http import SignedHttpClient, connection_limit
from cloudbutton_backend.backends.aws_lambda.invoke import InvocationAnswer, Invoker, LostAnswer
from cloudbutton_backend.backends.aws_lambda.remote_job import CallCanceller, RemoteJob, Uploads
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchCall,
    BatchEnded,
    Charged,
    Event,
    JobSpec,
    Warned,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import BrokenSeal

_LOG: Final = logging.getLogger(__name__)
ABANDON_AFTER: Final = 5.0
"""Seconds that a call which was told to stop has for its answer."""
STILL_BILLED: Final = (
    "calls that were told to stop have not answered: they end with their lease, are billed until then, and "
    "count here for the most that they can cost"
)
_REMEMBER: Final = 100
"""Ended jobs that may be retried."""


@dataclass(eq=False, slots=True)
class LambdaCall:
    """A call, from its submission to its end."""

    call: BatchCall
    may_run: bool = False
    """Whether something of it may be running, and be billed."""
    task: asyncio.Task[None] = field(init=False)
    interrupted: bool = False


class LambdaCalls:
    """The calls of one backend.

    Parameters
    ----------
    emit
        Takes events, from the loop's thread.
    connector
        Makes the connection; may take its time.
    patience
        Seconds for which AWS may refuse everything.
    """

    def __init__(
        self,
        settings: LambdaSettings,
        emit: Callable[[Sequence[Event]], None],
        *,
        connector: Callable[[LambdaSettings], LambdaConnection] = connect,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._emit = settings, emit
        self._connector = connector
        self._patience, self._clock = patience, clock
        self._connecting: asyncio.Task[None] | None = None
        self._connection: LambdaConnection
        self._web: SignedHttpClient | None = None
        self._invoker: Invoker
        self._bucket: Bucket
        self._uploads: Uploads
        self._new_results: DetachedResults
        self._functions: DeployedFunctions
        self._accountant: CallAccountant
        self._canceller: CallCanceller
        self.taken = 0
        """Calls that were submitted, over all its life."""
        self._slots: dict[str, LambdaCall | None] = {}
        """The call under way in each worker."""
        self._jobs: OrderedDict[str, RemoteJob] = OrderedDict()
        self._specs: dict[str, JobSpec] = {}

    # -- getting ready

    async def _connected(self) -> LambdaConnection:
        if self._connecting is None or (
            self._connecting.done() and self._connecting.exception() is not None
        ):
            self._connecting = asyncio.create_task(self._connect())
        await asyncio.shield(self._connecting)
        return self._connection

    async def _connect(self) -> None:
        connection = await asyncio.to_thread(self._connector, self._settings)
        home = connection.home
        self._connection = connection
        self._web = SignedHttpClient(connection.clients, connection.endpoints)
        self._bucket = Bucket(self._web, home.bucket, home.region, home.account, self._patience)
        self._uploads = Uploads(self._bucket)
        most = connection_limit(max(1, len(self._slots)))
        self._invoker = Invoker(self._web, home.region, most, self._patience, self._clock)
        self._new_results = DetachedResults(self._bucket)
        self._functions = DeployedFunctions(self._settings, connection)
        self._accountant = CallAccountant(self._bucket, self._functions.larger_memory)
        self._canceller = CallCanceller(self._bucket)

    async def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Prepare a job's first call; raise what prevents it."""
        self._specs[spec.id] = spec
        await self._connected()
        if spec.id not in self._jobs:
            self._jobs[spec.id] = self._make_job(spec, frozenset(packages()))
        await self._ready_job(spec.id)

    async def put(self, blob: Blob) -> None:
        """Upload a captured value."""
        await self._connected()
        await self._uploads.put(blob.digest, blob.parts)

    async def _ready_job(self, job_id: str) -> RemoteJob:
        if job_id not in self._jobs:
            await self._connected()
            job = self._make_job(self._specs[job_id])
            self._jobs.setdefault(job_id, job)
        job = self._jobs[job_id]
        if job.ready is None or (job.ready.done() and job.ready.exception() is not None):
            job.ready = asyncio.create_task(self._make_ready(job))
        await asyncio.shield(job.ready)
        return job

    def _make_job(self, spec: JobSpec, imports: frozenset[str] = frozenset()) -> RemoteJob:
        home = self._connection.home
        target = home.with_(memory=spec.memory) if spec.memory else home
        return RemoteJob(
            spec,
            call_encoding.job_key(sealed_files.key(), spec.id),
            home,
            target,
            self._settings.task_variables,
            imports,
            detached=spec.detached,
        )

    async def _make_ready(self, job: RemoteJob) -> None:
        function = await self._functions.with_packages(job.target, job.imports)
        job.use_function(function, job.imports)
        await job.shared_part(self._bucket, self._uploads)

    async def _ensure_packages(self, job: RemoteJob, call: BatchCall) -> None:
        """Ensure that the function has the packages of a call's items, which may be functions themselves."""
        needed = imports_in(call.parts[0])
        while not needed <= job.imports:
            imports = job.imports | needed
            bare = job.usual.with_(memory=job.target.memory)
            function = await self._functions.with_packages(bare, imports)
            if imports >= job.imports:  # else another call has brought something meanwhile
                job.use_function(function, imports)

    # -- requests

    def add_slots(self, names: Sequence[str]) -> None:
        """Add workers, with one call at a time each."""
        for name in names:
            self._slots.setdefault(name, None)
        if self._web is not None:
            self._invoker.limiter.widen(connection_limit(len(self._slots)))
        self._emit([WorkerUp(name) for name in names])

    def open_job(self, spec: JobSpec) -> None:
        self._specs[spec.id] = spec
        if spec.id in self._jobs:
            self._jobs[spec.id].spec = spec  # run again, perhaps within a budget now

    def close_job(self, job_id: str) -> None:
        """Drop jobs that ended long ago; this one may be opened again."""
        in_use = {flight.call.job_id for flight in self.in_flight()}
        for old in list(self._specs)[: max(0, len(self._specs) - _REMEMBER)]:
            if old not in in_use:
                del self._specs[old]
                self._jobs.pop(old, None)

    def submit(self, call: BatchCall) -> None:
        self.taken += 1
        if call.worker in self._slots:
            flight = self._slots[call.worker] = LambdaCall(call)
            flight.task = asyncio.create_task(self._run(flight))

    def interrupt(self, worker: str, job_id: str) -> None:
        flight = self._slots.get(worker)
        if flight is None or flight.call.job_id != job_id or flight.interrupted:
            return
        flight.interrupted = True
        if flight.may_run:
            self._stop(flight)
            asyncio.get_running_loop().call_later(ABANDON_AFTER, self._abandon, flight)
        else:
            self._abandon(flight)

    def kill(self, worker: str, reason: str) -> None:
        flight = self._slots.get(worker)
        if flight is None:
            if reason == "lost" and worker in self._slots:  # it has no call, and can have another
                self._emit([WorkerUp(worker)])
            return
        events: list[Event] = [self._charge(flight)]
        if flight.may_run:
            self._stop(flight)
            events.insert(0, Warned(flight.call.job_id, STILL_BILLED))
        self._cancel(flight)
        cause = "it was ended by this machine; what it may still do is not waited for"
        down = WorkerDown(worker, cause, flight.call.batch, None, reason)
        self._emit([*events, down, WorkerUp(worker)])

    # -- calls under way

    def in_flight(self) -> list[LambdaCall]:
        """Return the calls under way. Safe from any thread."""
        return [flight for flight in list(self._slots.values()) if flight is not None]

    def _cancel(self, flight: LambdaCall) -> bool:
        """Cancel a call's task; return whether it was still under way."""
        if self._slots[flight.call.worker] is not flight:
            return False
        self._slots[flight.call.worker] = None
        flight.task.cancel()
        return True

    def _abandon(self, flight: LambdaCall) -> None:
        """Give up a call that was told to stop and has not answered."""
        if self._cancel(flight):
            charge = self._charge(flight)
            events: list[Event] = [charge, BatchEnded(flight.call.worker, flight.call.batch, 0)]
            if charge.seconds:
                events.insert(0, Warned(flight.call.job_id, STILL_BILLED))
            self._emit(events)

    async def _run(self, flight: LambdaCall) -> None:
        try:
            events = await self._events_of(flight)
        except CloudError as error:
            events = self._ended_by(flight, str(error))
        except (BrokenSeal, TornRecord) as error:
            events = self._ended_by(flight, _tampered(error))
        except Exception as error:
            _LOG.exception("call %s failed", flight.call.batch)
            own = f"an error of Cloud Button's own: {type(error).__name__}: {error}"
            events = self._ended_by(flight, own)
        if self._slots[flight.call.worker] is flight:  # else it was given up
            self._slots[flight.call.worker] = None
            self._emit(events)

    def _ended_by(self, flight: LambdaCall, cause: str) -> list[Event]:
        """Return the events of a call whose failure will happen to all others, too."""
        end = BatchEnded(flight.call.worker, flight.call.batch, 0)
        return [self._charge(flight), end, BackendDown(cause)]

    async def _events_of(self, flight: LambdaCall) -> list[Event]:
        """Make a call; return what came of it."""
        job = await self._ready_job(flight.call.job_id)
        lease = lease_for(flight.call, job)
        if lease is not None and lease <= 0:
            return self._over_budget(flight, job)
        flight.call = call = replace(flight.call, lease=lease)
        await self._ensure_packages(job, call)
        target = job.target.with_(memory=job.memory_for(call))
        sent = await job.encode(call, self._bucket, self._uploads)
        attempt = Attempt(call, job, target, sent.puts)

        def on_sent(may_run: bool) -> None:
            flight.may_run = may_run

        within = lease or LONGEST_CALL
        ended = await self._invoker.invoke(
            target.function, sent.body, within, on_sent, asynchronous=job.detached
        )
        if job.detached and isinstance(ended, InvocationAnswer):
            data = await self._new_results.wait(job.answer_key(call.batch), within)
            if data is not None:
                return await self._accountant.stored(attempt, data, None)
            ended = LostAnswer("its results did not arrive in storage")
        return await self._accountant.events_of(attempt, ended)

    def _over_budget(self, flight: LambdaCall, job: RemoteJob) -> list[Event]:
        """Return the events of a call whose share of the budget does not pay for the memory it needs."""
        call = flight.call
        cause = f"the budget is too small for a call with {job.memory_for(call):,} MiB"
        down = WorkerDown(flight.call.worker, cause, call.batch, call.first, "lease")
        return [self._charge(flight), down, WorkerUp(flight.call.worker)]

    def _stop(self, flight: LambdaCall) -> None:
        """Tell a running call to stop."""
        self._canceller.stop(self._jobs[flight.call.job_id], flight.call.batch)

    def _charge(self, flight: LambdaCall) -> Charged:
        """Return the charge for a call that was given up: nothing if it certainly did not run."""
        call = flight.call
        job = self._jobs.get(call.job_id)
        if not flight.may_run or job is None:
            return Charged(call.job_id, call.batch, 0.0, 0.0)
        return at_most(call, job)

    async def close(self, seconds: float) -> None:
        """Stop what runs, as far as possible within `seconds`, and close all connections."""
        for flight in self.in_flight():
            job = self._jobs.get(flight.call.job_id)
            if flight.may_run and job is not None and not job.detached:
                self._stop(flight)
            self._cancel(flight)
        if self._web is not None:
            await self._canceller.close(seconds)
            await self._new_results.close()
            await self._web.close()
        # Tasks that prepare jobs: nothing waits for them any more, and the loop ends.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=seconds)


def _tampered(error: Exception) -> str:
    if isinstance(error, TornRecord):
        return f"results are damaged: {error}. Nothing of them was used"
    return (
        f"{error} does not carry the seal of this job: it was not written by the function that ran it, or "
        f"was changed since. Nothing of it was used. Find out who may write there before you go on"
    )
