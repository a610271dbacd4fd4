"""The Lambda backend: a bridge between the driver's thread and an event loop with all calls under way.

A worker is a place for one call at a time: what runs there is a function's environment, and which one
is AWS's business. A thousand calls take one thread here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from cloudbutton_backend.backends.aws_lambda import cost_model
from cloudbutton_backend.backends.aws_lambda.boto_clients import BotoClients
from cloudbutton_backend.backends.aws_lambda.call_results import LONGEST_CALL
from cloudbutton_backend.backends.aws_lambda.calls import LambdaCalls
from cloudbutton_backend.backends.aws_lambda.connection import (
    LambdaConnection,
    connect,
    ensure_function,
    region_of,
)
from cloudbutton_backend.backends.aws_lambda.detached import collect
from cloudbutton_backend.backends.aws_lambda.remote_job import max_rate
from cloudbutton_backend.backends.aws_lambda.resource_names import MEMORY
from cloudbutton_backend.backends.aws_lambda.settings import (
    MOST_WORKERS,
    USUAL_WORKERS,
    LambdaSettings,
)
from cloudbutton_backend.backends.capabilities import HealthLine, TermsRequest
from cloudbutton_backend.backends.protocol import BatchCall, Event, JobSpec, Limits, Results
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.cost.run_model import CostModel
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus

_LOG: Final = logging.getLogger(__name__)
BATCH_SECONDS: Final = 1.5
"""Work in one call: what a warm call costs on top is a few milliseconds."""
FIRST_WAVE: Final = 8
"""Calls before the first results are there."""
RETRY_DELAY: Final = 0.2
EMULATED_WORKERS: Final = 4
FEWER: Final = 5
"""Estimates are also made for this many times fewer workers than are available."""
_PREPARE_WITHIN: Final = 900.0
"""Seconds for all that a job needs before it begins, beside sending its captured values: packages may
have to be built and deployed."""
_SECONDS_PER_MB: Final = 2.0
"""For sending those: what a very slow connection takes."""
_CLOSE_WITHIN: Final = 2.0
T = TypeVar("T")


class LambdaBackend:
    """AWS Lambda functions, one call at a time in each worker.

    Parameters
    ----------
    clients, connector, patience
        For tests: other clients; how to connect; seconds for which AWS may refuse everything.
    """

    name = "lambda"
    title = "AWS Lambda"
    settings_class = LambdaSettings
    costs: bool = True

    def __init__(
        self,
        settings: LambdaSettings | None = None,
        *,
        clients: BotoClients | None = None,
        connector: Callable[[LambdaSettings], LambdaConnection] | None = None,
        patience: float = 60.0,
    ) -> None:
        self.settings = settings or LambdaSettings()
        self.costs = not self.settings.emulate
        self._clients = clients
        usual = EMULATED_WORKERS if self.settings.emulate else USUAL_WORKERS
        self._size = self.settings.workers or usual
        self._announced = self._submitted = 0
        self._events: deque[Event] = deque()
        self._change = threading.Condition()
        self._woken = False
        self._limits: Limits | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="cloudbutton-lambda-asks")
        self._starting = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._connector = connector or (lambda settings: connect(settings, clients))
        self._lambda_calls = LambdaCalls(
            self.settings, self._on_events, connector=self._connector, patience=patience
        )

    def __repr__(self) -> str:
        where = "emulated" if self.settings.emulate else self.settings.region or "default region"
        return f"<LambdaBackend: {self._size} workers with {self.settings.memory} MiB, {where}>"

    @property
    def limits(self) -> Limits:
        if self._limits is None:
            settings = self.settings
            rate = max_rate(region_of(settings, self._clients), settings.arch, settings.memory)
            self._limits = Limits(
                workers=self._size,
                batch_seconds=BATCH_SECONDS,
                queue_depth=1,
                can_duplicate=True,
                can_limit_memory=True,
                memory=settings.memory,
                lane=MEMORY,
                retry_delay=RETRY_DELAY,
                first_wave=FIRST_WAVE,
                rate=rate,
                longest_call=LONGEST_CALL,
                can_outlive=True,
                emulated=settings.emulate,
            )
        return self._limits

    # -- the loop

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, starting its thread at first use."""
        with self._starting:
            if self._loop is None:
                if self._closed:
                    raise BackendError("The Lambda backend was closed.")
                self._loop = asyncio.new_event_loop()
                self._loop.set_default_executor(self._threads)
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="cloudbutton-lambda-calls", daemon=True
                )
                self._thread.start()
            return self._loop

    def _call_soon(self, act: Callable[..., None], *arguments: Any) -> None:
        """Call a function on the event loop, without waiting for it."""
        self._running_loop().call_soon_threadsafe(act, *arguments)

    def _await(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run a coroutine on the event loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(work, seconds), self._running_loop()
        ).result(seconds + _CLOSE_WITHIN)  # in case the loop has ended

    # -- requests

    def start(self) -> None:
        self.scale(self._size)

    def scale(self, workers: int) -> None:
        """Ensure that there are at least this many workers."""
        wanted = min(workers, MOST_WORKERS)
        fresh = [f"lambda-{number}" for number in range(self._announced, wanted)]
        if fresh:
            self._announced = wanted
            self._call_soon(self._lambda_calls.add_slots, fresh)

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Look up the function and upload what a job needs, in the user's thread.

        Raises
        ------
        CloudError
            What prevents the job: no credentials, no permission, nothing deployed, another version.
        """
        nbytes = sum(blob.nbytes for blob in spec.blobs)
        self._await_preparation(self._lambda_calls.prepare(spec, packages), nbytes)

    def put(self, blob: Blob) -> None:
        self._await_preparation(self._lambda_calls.put(blob), blob.nbytes)

    def _await_preparation(self, work: Coroutine[Any, Any, None], nbytes: int) -> None:
        """Run what prepares a job, in the time that uploading `nbytes` may take."""
        seconds = _PREPARE_WITHIN + _SECONDS_PER_MB * nbytes / 1e6
        try:
            self._await(work, seconds)
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError, TimeoutError):
            raise BackendError(
                f"AWS was not ready for this job within {seconds / 60:,.0f} minutes; nothing was "
                f"started. What was made by then is used when you try again."
            ) from None

    def recover(self, job_id: str) -> Iterable[Results]:
        """Yield what calls of a detached job have left in storage, the first to come first."""
        connection = self._connector(self.settings)
        found = sorted(
            collect(connection.clients, connection.home, job_id), key=lambda each: each[1]
        )
        yield from (results for results, _put_at in found)

    def open_job(self, spec: JobSpec) -> None:
        self._call_soon(self._lambda_calls.open_job, spec)

    def submit(self, call: BatchCall) -> None:
        self._submitted += 1
        self._call_soon(self._lambda_calls.submit, call)

    def revoke(self, worker: str, keep: int) -> None:
        """Not supported (`Limits.can_revoke` is False)."""

    def interrupt(self, worker: str, job_id: str) -> None:
        self._call_soon(self._lambda_calls.interrupt, worker, job_id)

    def kill(self, worker: str, reason: str) -> None:
        self._call_soon(self._lambda_calls.kill, worker, reason)

    def close_job(self, job_id: str) -> None:
        self._call_soon(self._lambda_calls.close_job, job_id)

    def warm(self, modules: Sequence[str]) -> None:
        """Not supported: environments cannot be reached before their first call, and cost money."""

    # -- what happens

    def _on_events(self, events: Sequence[Event]) -> None:
        with self._change:
            self._events.extend(events)
            self._change.notify()

    def poll(self, timeout: float | None) -> Iterable[Event]:
        with self._change:
            if not self._events and not self._woken:
                self._change.wait(timeout)
            self._woken = False
            events = list(self._events)
            self._events.clear()
        return events

    def is_under_way(self) -> bool:
        """Return whether a call is under way, or about to be made."""
        calls = self._lambda_calls
        return self._submitted != calls.taken or bool(calls.in_flight())

    def wake(self) -> None:
        with self._change:
            self._woken = True
            self._change.notify()

    def close(self) -> None:
        with self._starting:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is None or self._thread is None or os.getpid() != self._pid:
            return
        closing = asyncio.run_coroutine_threadsafe(self._lambda_calls.close(_CLOSE_WITHIN), loop)
        try:
            closing.result(2 * _CLOSE_WITHIN)
        except (concurrent.futures.TimeoutError, TimeoutError):
            _LOG.warning("calls of the Lambda backend could not be ended in time")
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(_CLOSE_WITHIN)

    # -- for the panel and the doctor

    @staticmethod
    def costs_with(settings: Mapping[str, Any]) -> bool:
        """Whether work costs money with such settings."""
        return not settings.get("emulate")

    def terms(self, request: TermsRequest) -> list[CostModel]:
        """Return how it would run a job, with memory sizes and workers to choose among.

        What was asked for comes first; makes no requests.
        """
        limits, settings = self.limits, self.settings
        asked = min(request.workers or limits.workers, max(1, request.items))
        choices = [(request.memory or settings.memory, asked)]
        sizes = cost_model.memories(settings, request.measured, request.memory)
        choices += [(size, asked) for size in sizes]
        if request.workers is None and asked >= 2 * FEWER:
            choices.append((choices[0][0], asked // FEWER))
        function = cost_model.PricedFunction(
            settings,
            region_of(settings, self._clients),
            self.name,
            limits,
            cpus=usable_cpus(),
        )
        return [
            cost_model.cost_model_of(function, request.measured, request.overhead, n, size)
            for size, n in dict.fromkeys(choices)
        ]

    def describe_packages(self, imports: Sequence[str]) -> str:
        """Return which packages functions will need for code that imports these; makes no requests."""
        from cloudbutton_backend.backends.aws_lambda.environments import describe_environment
        from cloudbutton_backend.backends.aws_lambda.runtimes import Platform, notebook_python

        if self.settings.emulate:
            return "In the emulator, packages are those that are installed here."
        return describe_environment(
            imports, Platform.on_lambda(notebook_python(), self.settings.arch)
        )

    def health(self) -> Iterator[HealthLine]:
        """Yield what jobs need and whether it is well; asks AWS."""
        from cloudbutton_backend.backends.aws_lambda.deployment.preflight import health

        connection = self._connector(self.settings)
        if self.settings.emulate:
            ensure_function(self.settings, connection, connection.home, ())
        for line in health(connection.clients, connection.home):
            yield HealthLine(line.name, line.ok, line.detail)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and close it, however late that is."""
    try:
        loop.run_forever()
    finally:
        loop.close()
