"""The Dask backend: calls are tasks of Dask's, and where each of them runs is its scheduler's business.

::

    driver thread            Dask's client                      a Dask worker, one of many
    ─────────────            ─────────────                      ──────────────────────────
    put, prepare ──────────▶ scatter: values by content ──────▶ its data, and files that processes map
    submit ────────────────▶ a task for each batch ─scheduler─▶ run_call ─▶ ProcessHost ─▶ our own process
    poll ◀── FinishedCall ◀─ gather ◀────────────────────────── sealed records
    interrupt ─────────────▶ run: stop_calls ─────────────────▶ ProcessHost: SIGINT, soon SIGKILL
"""

from __future__ import annotations

import concurrent.futures
import hmac
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.backends.capabilities import HealthLine
from cloudbutton_backend.backends.dask.connector import Connector
from cloudbutton_backend.backends.dask.health import health, unstarted_health
from cloudbutton_backend.backends.dask.settings import MOST_WORKERS, DaskSettings
from cloudbutton_backend.backends.extras import require
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    BatchCall,
    Event,
    JobSpec,
    Limits,
    Results,
    Warned,
)
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus

if TYPE_CHECKING:
    from cloudbutton_backend.backends.dask.connection import ClusterConnection
    from cloudbutton_backend.backends.dask.in_flight import FinishedCall, Ready

_LOG: Final = logging.getLogger(__name__)
BATCH_SECONDS: Final = 0.1
"""Work in one call: what Dask does for each then takes a few percent of one CPU's time."""
IN_FLIGHT: Final = 2
"""Calls for each thread of the cluster: one runs, the next waits beside it."""
RETRY_DELAY: Final = 0.2
RECONNECT_WITHIN: Final = 5.0
"""Seconds for which a scheduler that was lost is looked for, before jobs fail."""
_HOUR: Final = 3600.0


class DaskBackend:
    """The workers of a Dask cluster.

    Parameters
    ----------
    patience
        Seconds for which a job waits while the cluster has no workers.
    """

    name = "dask"
    title = "Dask"
    settings_class = DaskSettings
    costs: bool = False

    def __init__(
        self,
        settings: DaskSettings | None = None,
        *,
        patience: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        require("dask")
        self.settings = settings or DaskSettings()
        self.costs = bool(self.settings.worker_hour)
        self._given = self.settings.client
        self._patience, self._clock = patience, clock
        self._connector = Connector(self.settings, self._notify, clock)
        self._limits: Limits | None = None
        # The rest is the driver thread's.
        self._connection: ClusterConnection | None = None
        self._specs: dict[str, JobSpec] = {}
        self._ready: dict[str, Ready] = {}
        self._resources: dict[str, dict[str, Any]] = {}
        """By job, what each of its calls takes of the workers' resources."""
        self._wanted = 0
        self._orphans: list[str] = []
        """Names of calls that a cluster keeps from which the connection was lost."""
        self._empty_since: float | None = None
        self._change = threading.Condition()
        self._inbox: deque[Any] = deque()
        self._woken = False
        self._closed = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        where = self._connection or self.settings.address or self._given or "not started"
        return f"<DaskBackend: {where}>"

    @property
    def is_local(self) -> bool:
        """Whether the cluster is made by us, on this machine."""
        return self._given is None and self.settings.address is None

    @property
    def limits(self) -> Limits:
        """Its limits; the number of workers is that of the cluster once it is known."""
        if self._limits is None:
            self._limits = Limits(
                workers=self._most,
                slots=IN_FLIGHT,
                batch_seconds=BATCH_SECONDS,
                queue_depth=1,
                shares_files=self.is_local,
                can_duplicate=True,
                can_limit_memory=True,
                retry_delay=RETRY_DELAY,
                rate=self._rate(),
                can_outlive=self._can_outlive,
            )
        connection = self._connection
        if connection is None or (self.settings.workers and not self.is_local):
            return self._limits
        return replace(self._limits, workers=max(1, connection.threads))

    @property
    def _can_outlive(self) -> bool:
        """Whether the cluster stays when this process ends."""
        given = self._given
        return not self.is_local and (given is None or given.cluster is None)

    @property
    def _most(self) -> int:
        """The most calls at a time."""
        settings = self.settings
        if self.is_local:
            return IN_FLIGHT * (settings.workers or usable_cpus())
        return settings.workers or MOST_WORKERS

    def _rate(self) -> Rate | None:
        """Return the most that a second of a call costs: a worker's price is shared by its threads."""
        price = self.settings.worker_hour
        if not price:
            return None
        threads = 1
        if not self.is_local:
            try:
                connection = self._connector.connection()
            except CloudError:
                pass  # starting a job reports it
            else:
                threads = min((worker.threads for worker in connection.workers), default=1)
        return Rate(per_second=price / _HOUR / threads)

    # -- requests

    def start(self) -> None:
        self._connector.begin()

    def scale(self, workers: int) -> None:
        """Make room for at least this many calls, which a cluster that grows on demand goes by."""
        self._wanted = max(self._wanted, workers)

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Connect, compare versions, and send what the job's calls need.

        Raises
        ------
        CloudError
            What prevents the job.
        """
        from cloudbutton_backend.backends.dask.cluster import placement

        connection = self._connector.connection()
        connection.versions.require(packages())
        if spec.memory is not None:
            connection.await_worker()  # workers with so much memory, and how they declare it
            placement(spec.memory, connection.workers)
        ready: Ready = concurrent.futures.Future()
        ready.set_result(self._put_job(connection, spec))
        self._ready[spec.id] = ready

    def _put_job(self, connection: ClusterConnection, spec: JobSpec) -> Any:
        names = self.settings.task_variables
        variables = {name: os.environ[name] for name in names if name in os.environ}
        return connection.data.put_job(spec, _key_of(spec.id), variables)

    def put(self, blob: Blob) -> None:
        self._connector.connection().data.put(blob)

    def recover(self, job_id: str) -> Iterator[Results]:
        """Yield what calls of a detached job brought on a cluster that others have started."""
        if self.is_local:
            return
        from cloudbutton_backend.backends.dask.detached import recovered

        yield from recovered(self._connector.connection().cluster, job_id, _key_of(job_id))

    def open_job(self, spec: JobSpec) -> None:
        self._specs[spec.id] = spec
        self._connector.begin()  # again, if it was lost

    def submit(self, call: BatchCall) -> None:
        connection, spec = self._connection, self._specs[call.job_id]
        if connection is None:  # it was lost since; what it held has been given back
            return
        lasting = spec.detached and self._can_outlive
        connection.calls.submit(
            call, self._job_data(connection, spec), self._placement(connection, spec), lasting
        )

    def _placement(self, connection: ClusterConnection, spec: JobSpec) -> dict[str, Any]:
        """Return Dask's restrictions on where a call may run."""
        from cloudbutton_backend.backends.dask.cluster import placement

        if not connection.workers:  # those that come will be of the same kind
            return self._resources.get(spec.id, {})
        found = placement(spec.memory, connection.workers)
        if "resources" in found:
            self._resources[spec.id] = found
        return found

    def _job_data(self, connection: ClusterConnection, spec: JobSpec) -> Ready:
        """Return a job's data on the cluster, sending them again if they were lost."""
        ready = self._ready.get(spec.id)
        if ready is None:
            ready = self._ready[spec.id] = concurrent.futures.Future()
            threading.Thread(
                target=_complete,
                args=(ready, lambda: self._put_job(connection, spec)),
                name="cloudbutton-dask-sends",
                daemon=True,
            ).start()
        return ready

    def revoke(self, worker: str, keep: int) -> None:
        """Not supported (`Limits.can_revoke` is False)."""

    def interrupt(self, worker: str, job_id: str) -> None:
        if self._connection is not None:
            self._notify(self._connection.calls.interrupt(worker, job_id))

    def kill(self, worker: str, reason: str) -> None:
        if self._connection is not None and self._connection.calls.has(worker):
            calls = self._connection.calls
            ended = calls.end_slot(worker, "it was ended by this machine", reason)
            self._notify([*ended, calls.add_slot()])

    def close_job(self, job_id: str) -> None:
        self._ready.pop(job_id, None)
        self._resources.pop(job_id, None)
        self._specs.pop(job_id, None)
        if self._connection is not None:
            self._connection.calls.close_job(job_id)
            self._connection.data.make_room(
                {blob.digest for spec in self._specs.values() for blob in spec.blobs}
            )

    def warm(self, modules: Sequence[str]) -> None:
        """Not supported: the cluster is shared, so processes start when they are needed."""

    # -- what happens

    def _notify(self, happened: Any) -> None:
        """Queue something for `poll`. Safe from any thread."""
        with self._change:
            self._inbox.append(happened)
            self._change.notify()

    def poll(self, timeout: float | None) -> Iterable[Event]:
        wake = self._next_wake()
        if wake is not None:
            left = max(0.0, wake - self._clock())
            timeout = left if timeout is None else min(timeout, left)
        if self._connection is not None:
            self._connection.calls.unpublish_finished()  # what `poll` returned last is written down by now
        with self._change:
            if not self._inbox and not self._woken:
                self._change.wait(timeout)
            self._woken = False
            happened = list(self._inbox)
            self._inbox.clear()
        events: list[Event] = []
        for each in happened:
            events += self._events_of(each)
        return [*events, *self._check_progress()]

    def _events_of(self, happened: Any) -> list[Event]:
        from cloudbutton_backend.backends.dask.connection import ClusterConnection
        from cloudbutton_backend.backends.dask.in_flight import FinishedCall

        if isinstance(happened, list):
            return happened
        if isinstance(happened, BaseException):
            return [BackendDown(str(happened))]
        if isinstance(happened, FinishedCall):
            return self._on_finished(happened)
        assert isinstance(happened, ClusterConnection)
        if happened.lost is not None:
            return self._on_lost(happened)
        if self._connection is None and not self._closed:
            self._connection = happened
            happened.calls.unpublish_finished(self._orphans)
            self._orphans.clear()
        return []

    def _on_finished(self, finished: FinishedCall) -> list[Event]:
        connection = self._connection
        if connection is None:
            return []
        events, stale = connection.calls.finish(finished)
        if stale is not None:
            self._ready.pop(stale, None)
        elif finished.error is not None and connection.cluster.is_lost:
            connection.lose("the connection broke")
        return events

    def _on_lost(self, connection: ClusterConnection) -> list[Event]:
        """Handle a lost connection: try to connect once more, and give up soon."""
        if self._connection is not connection:
            return []
        self._connection = None
        self._ready.clear()
        self._connector.reset()
        self._orphans += connection.calls.published()  # they would go on, and are sent again
        events = connection.calls.return_all()
        threading.Thread(
            target=connection.close, name="cloudbutton-dask-closes", daemon=True
        ).start()
        if self._specs:
            line = f"lost the Dask scheduler at {connection.address}: {connection.lost}; looking for it again"
            events += [Warned(job_id, line) for job_id in self._specs]
            self._connector.begin(RECONNECT_WITHIN)
        return events

    def is_under_way(self) -> bool:
        """Return whether a call is under way, as far as this process knows."""
        return self._connection is None or bool(self._connection.calls.in_flight())

    def _next_wake(self) -> float | None:
        times = [] if self._connection is None else [self._connection.calls.next_wake()]
        if self._empty_since is not None:
            times.append(self._empty_since + self._patience)
        return min((time for time in times if time is not None), default=None)

    def _check_progress(self) -> list[Event]:
        """Check for calls that do not answer, adjust slots, and notice a cluster without workers."""
        connection = self._connection
        if connection is None:
            self._empty_since = None
            return []
        events = [*connection.calls.check_progress(), *self._adjust_slots(connection)]
        waits = not connection.workers and bool(connection.calls.in_flight())
        if not waits:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = self._clock()
        elif self._clock() >= self._empty_since + self._patience:
            from cloudbutton_backend.backends.dask.cluster import no_workers

            self._empty_since = None
            events.append(BackendDown(no_workers(connection.address, self._patience)))
        return events

    def _adjust_slots(self, connection: ClusterConnection) -> list[Event]:
        """Match slots to the cluster's threads, with some to spare where it may grow."""
        calls = connection.calls
        wanted = min(self._most, max(IN_FLIGHT * connection.threads, self._wanted, IN_FLIGHT))
        events: list[Event] = [calls.add_slot() for _ in range(wanted - len(calls))]
        if len(calls) > wanted:
            for name in calls.idle()[: len(calls) - wanted]:
                events += calls.end_slot(name, "the cluster has become smaller", "killed")
        return events

    def wake(self) -> None:
        with self._change:
            self._woken = True
            self._change.notify()

    def close(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child of the kernel: the connection is not its own
        self._closed = True
        made = self._connector.close()
        connection, self._connection = self._connection or made, None
        if connection is not None:
            connection.calls.return_all()
            connection.close()

    # -- for the panel and the doctor

    @staticmethod
    def costs_with(settings: Mapping[str, Any]) -> bool:
        """Whether work costs money with such settings."""
        return bool(settings.get("worker_hour"))

    def futures_of(
        self, job_id: str, outcomes: Iterable[tuple[int, Any, BaseException | None]]
    ) -> list[Any]:
        """Return a future of Dask's for each item of a job that has ended, in their order."""
        from cloudbutton_backend.backends.dask.futures import futures_of

        connection = self._connector.connection()
        return futures_of(connection, outcomes, connection.calls.kept.get(job_id, ()))

    def lasting_settings(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings given to `use` in a form for another process that resumes a job of this one."""
        lasting = {
            name: value for name, value in chosen.items() if name not in ("client", "security")
        }
        if self._given is not None and self._given.scheduler is not None:
            lasting["address"] = self._given.scheduler.address
        elif self.settings.address is not None:  # of a file, perhaps, which others may not have
            lasting["address"] = self.settings.address
        return lasting

    def differs_from(self, lasting: Mapping[str, Any]) -> str:
        """Return the message for a detached job with such settings that resumes here; usually empty.

        Another address may be another way to the same scheduler; a cluster made here never is.
        """
        there = lasting.get("address")
        if there is None or not self.is_local:
            return ""
        return (
            f"its calls went to the Dask scheduler at {there}, and `dask` is a cluster on this machine"
            f" here: what they bring is not collected, and those items run again. To have it, cancel the"
            f" job, say `%cloud use dask --address {there}`, and attach again"
        )

    def health(self) -> Iterator[HealthLine]:
        """Yield what jobs need and whether it is well; asks the cluster.

        One that would have to be made first is left alone: looking must not start processes.
        """
        if self.is_local and self._connection is None:
            yield from unstarted_health(self.settings.workers or usable_cpus())
            return
        try:
            connection = self._connector.connection()
        except (CloudError, ImportError) as error:
            yield HealthLine("scheduler", False, str(error))
            return
        yield from health(connection)


def _key_of(job_id: str) -> bytes:
    """Return the key with which a job's results are sealed, derived from the user's key."""
    return hmac.digest(sealed_files.key(), b"cloudbutton job " + job_id.encode(), "sha256")


def _complete(future: concurrent.futures.Future[Any], act: Callable[[], Any]) -> None:
    """Complete a future with the result or error of `act`."""
    try:
        future.set_result(act())
    except BaseException as error:
        future.set_exception(error)
