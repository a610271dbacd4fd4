"""The Dask backend: calls are tasks of Dask's, and where each of them runs is its scheduler's business.

::

    driver thread            Dask's client                      a Dask worker, one of many
    ─────────────            ─────────────                      ──────────────────────────
    put, open_job ─────────▶ scatter: values by content ──────▶ its data, and files that processes map
    submit ────────────────▶ a task for each batch ─scheduler─▶ run_call ─▶ Site ─▶ a process of ours
    poll ◀── Landed ◀─────── gather ◀────────────────────────── sealed records
    interrupt ─────────────▶ run: stop_calls ─────────────────▶ Site: SIGINT, soon SIGKILL
"""

from __future__ import annotations

import hmac
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend import seals
from cloudbutton_backend.backends.dask.settings import (
    MOST_WORKERS,
    Settings,
    names_of_variables,
    schema,
)
from cloudbutton_backend.backends.protocol import (
    BackendDown,
    Call,
    Event,
    JobSpec,
    Limits,
)
from cloudbutton_backend.capture import Blob
from cloudbutton_backend.errors import BackendError

if TYPE_CHECKING:
    from cloudbutton_backend.backends.dask.calls import Calls
    from cloudbutton_backend.backends.dask.cluster import Cluster
    from cloudbutton_backend.backends.dask.data import Data, JobData

_LOG: Final = logging.getLogger(__name__)
BATCH_SECONDS: Final = 0.1
IN_FLIGHT: Final = 2
"""Calls for each thread of the cluster: one runs, the next waits beside it."""
_WATCH_EVERY: Final = 1.0


class DaskBackend:
    """The workers of a Dask cluster.

    Parameters
    ----------
    address
        Of a scheduler; None for a cluster on this machine, made when it is needed.
    workers
        Worker processes on this machine; of another cluster, calls at a time at most.
    worker_hour
        US dollars that a worker costs in an hour.
    variables
        Names of environment variables that tasks may see, with commas in between.
    tls_ca, tls_cert, tls_key
        Paths of PEM files.
    client
        A `distributed.Client` to use, which stays open.
    security
        A `distributed.Security` to connect with.
    """

    name = "dask"
    title = "Dask"
    costs: bool = False

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        worker_hour: float | None = None,
        variables: str = "",
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        client: Any = None,
        security: Any = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = Settings(
            address=address,
            workers=workers,
            worker_hour=worker_hour,
            variables=names_of_variables(variables),
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
        self.costs = bool(worker_hour)
        self._given, self._security, self._clock = client, security, clock
        self._connecting = threading.Lock()
        self._cluster: Cluster | None = None
        self._data: Data | None = None
        self._calls: Calls | None = None
        self._specs: dict[str, JobSpec] = {}
        self._ready: dict[str, JobData] = {}
        self._wanted = 0
        self._threads = 0
        self._change = threading.Condition()
        self._inbox: deque[Any] = deque()
        self._woken = False
        self._closed = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        where = self._cluster or self.settings.address or "not connected"
        return f"<DaskBackend: {where}>"

    @property
    def limits(self) -> Limits:
        return Limits(
            workers=self._most(),
            batch_seconds=BATCH_SECONDS,
            queue_depth=1,
            can_duplicate=True,
            can_limit_memory=True,
            retry_delay=0.2,
        )

    def _most(self) -> int:
        from cloudbutton_backend.backends.local.cpus import usable_cpus

        settings = self.settings
        if self._given is None and settings.address is None:
            return IN_FLIGHT * (settings.workers or usable_cpus())
        return settings.workers or MOST_WORKERS

    # -- connecting

    def _connected(self) -> Cluster:
        """Return the cluster, connecting at first use."""
        with self._connecting:
            if self._closed:
                raise BackendError("The Dask backend was closed.")
            if self._cluster is None:
                from cloudbutton_backend.backends.dask.cluster import Cluster
                from cloudbutton_backend.backends.dask.data import Data

                cluster = Cluster(self.settings, self._given, self._security)
                self._cluster, self._data = cluster, Data(cluster)
                self._tell(cluster)
                threading.Thread(
                    target=self._watch, args=(cluster,), name="cloudbutton-dask-watch", daemon=True
                ).start()
            return self._cluster

    def _watch(self, cluster: Cluster) -> None:
        """Look how many workers there are, until the cluster is let go of."""
        while self._cluster is cluster and not self._closed:
            try:
                threads = sum(cluster.threads().values())
            except Exception as error:
                threads = -1
                _LOG.info("the Dask scheduler does not answer: %s", error)
            if threads != self._threads:
                self._tell(threads)
            threading.Event().wait(_WATCH_EVERY)

    def _try_to_connect(self) -> None:
        try:
            self._connected()
        except Exception as error:
            self._tell(error)

    # -- what is asked

    def start(self) -> None:
        """Connect, in the background."""
        threading.Thread(
            target=self._try_to_connect, name="cloudbutton-dask-connects", daemon=True
        ).start()

    def scale(self, workers: int) -> None:
        """Have room for at least so many calls."""
        self._wanted = max(self._wanted, workers)

    def prepare(self, spec: JobSpec) -> None:
        """Connect, and send what the job's calls need.

        Raises
        ------
        BackendError
            What prevents the job.
        """
        self._connected()
        self._make_ready(spec)

    def _make_ready(self, spec: JobSpec) -> JobData:
        assert self._data is not None
        key = hmac.digest(seals.key(), b"cloudbutton job " + spec.id.encode(), "sha256")
        variables = {
            name: os.environ[name] for name in self.settings.variables if name in os.environ
        }
        data = self._ready[spec.id] = self._data.put_job(spec, key, variables)
        return data

    def put(self, blob: Blob) -> None:
        self._connected()
        assert self._data is not None
        self._data.put(blob)

    def open_job(self, spec: JobSpec) -> None:
        self._specs[spec.id] = spec

    def submit(self, call: Call) -> None:
        spec = self._specs[call.job_id]
        data = self._ready.get(call.job_id) or self._make_ready(spec)
        assert self._calls is not None
        self._calls.submit(call, spec, data)

    def revoke(self, worker: str, keep: int) -> None:
        """Nothing can be taken back from a call under way, and the dispatcher knows."""

    def interrupt(self, worker: str, job_id: str) -> None:
        if self._calls is not None:
            self._tell(self._calls.interrupt(worker, job_id))

    def kill(self, worker: str, reason: str) -> None:
        if self._calls is not None and self._calls.has(worker):
            cause = "it was ended by this machine"
            self._tell([self._calls.drop_slot(worker, cause, reason), self._calls.add_slot()])

    def close_job(self, job_id: str) -> None:
        self._ready.pop(job_id, None)

    def warm(self, modules: Sequence[str]) -> None:
        """Processes begin when they are needed: others use the cluster, too."""

    # -- what happens

    def _tell(self, happened: Any) -> None:
        """Have `poll` see something. Safe from any thread."""
        with self._change:
            self._inbox.append(happened)
            self._change.notify()

    def poll(self, timeout: float | None) -> Iterable[Event]:
        wake = self._calls.next_wake() if self._calls is not None else None
        if wake is not None:
            left = max(0.0, wake - self._clock())
            timeout = left if timeout is None else min(timeout, left)
        with self._change:
            if not self._inbox and not self._woken:
                self._change.wait(timeout)
            self._woken = False
            happened = list(self._inbox)
            self._inbox.clear()
        events: list[Event] = []
        for each in happened:
            events += self._events_of(each)
        if wake is not None and self._calls is not None:
            events += self._calls.look_after()
        return events

    def _events_of(self, happened: Any) -> list[Event]:
        from cloudbutton_backend.backends.dask.calls import Calls, Landed
        from cloudbutton_backend.backends.dask.cluster import Cluster

        if isinstance(happened, list):
            return happened
        if isinstance(happened, Cluster):
            self._calls = Calls(happened, self._tell, self._clock)
            return []
        if isinstance(happened, Landed):
            return self._calls.landed(happened) if self._calls is not None else []
        if isinstance(happened, Exception):
            return [BackendDown(str(happened))]
        self._threads = happened
        return self._fit()

    def _fit(self) -> list[Event]:
        """Have as many slots as the cluster has room for."""
        calls = self._calls
        if calls is None:
            return []
        wanted = min(self._most(), max(IN_FLIGHT * self._threads, self._wanted, IN_FLIGHT))
        events: list[Event] = [calls.add_slot() for _ in range(wanted - len(calls))]
        for name in calls.idle()[: max(0, len(calls) - wanted)]:
            events.append(calls.drop_slot(name, "the cluster has become smaller", "killed"))
        return events

    def wake(self) -> None:
        with self._change:
            self._woken = True
            self._change.notify()

    def close(self) -> None:
        if os.getpid() != self._pid:
            return
        self._closed = True
        with self._connecting:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            if self._calls is not None:
                self._calls.drop_all("the session was closed")
            cluster.close()

    # -- for the panel and the doctor

    @staticmethod
    def settings_schema() -> dict[str, Any]:
        """Return the settings as a JSON schema, for a form."""
        return schema()
