"""The connection to a cluster in use: its workers, the data sent there, and the calls under way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from cloudbutton_backend.backends.dask.calls import DaskCalls
from cloudbutton_backend.backends.dask.cluster import DaskCluster, WorkerInfo
from cloudbutton_backend.backends.dask.scattered_data import ScatteredData
from cloudbutton_backend.backends.dask.version_check import VersionCheck

_LOG: Final = logging.getLogger(__name__)
LOOK_EVERY: Final = 1.0
SILENT_FOR: Final = 45.0
"""Seconds without an answer after which a scheduler counts as lost; a connection that breaks is noticed
at once."""


class ClusterConnection:
    """One connection, and all that depends on it.

    Parameters
    ----------
    notify
        Called from any thread, with the connection, when its workers or its state have changed.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        notify: Callable[[Any], None],
        clock: Callable[[], float],
        worker_hour: float | None,
        keep_results: bool,
    ) -> None:
        self.cluster = cluster
        self.data = ScatteredData(cluster)
        self.versions = VersionCheck(cluster)
        self.calls = DaskCalls(cluster, notify, clock, worker_hour, keep_results)
        self.address = cluster.address
        self.workers: tuple[WorkerInfo, ...] = cluster.workers()
        self.lost: str | None = None
        """Why it cannot be used any more."""
        self._notify = notify
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name="cloudbutton-dask-watch", daemon=True).start()

    def __repr__(self) -> str:
        return f"<ClusterConnection: {self.cluster!r}, {len(self.workers)} workers>"

    @property
    def threads(self) -> int:
        return sum(worker.threads for worker in self.workers)

    def await_worker(self) -> None:
        """Wait until there is a worker.

        Raises
        ------
        BackendError
            None came.
        """
        if not self.workers:
            self.cluster.await_worker()
            self.workers = self.cluster.workers()

    def _watch(self) -> None:
        """Watch the workers until the connection is closed or lost."""
        heard = time.monotonic()
        while not self._closing.wait(LOOK_EVERY):
            try:
                workers = self.cluster.workers()
            except Exception as error:
                if self.cluster.is_lost:
                    self.lose("the connection broke")
                    return
                _LOG.info("the Dask scheduler does not answer: %s", error)
                if time.monotonic() - heard > SILENT_FOR:
                    self.lose(f"it has not answered for {SILENT_FOR:g} s")
                    return
                continue
            heard = time.monotonic()
            if workers != self.workers:
                self.workers = workers
                self._notify(self)

    def lose(self, why: str) -> None:
        """Give up the connection. Safe to repeat."""
        if self.lost is None and not self._closing.is_set():
            self.lost = why
            self._notify(self)

    def close(self) -> None:
        """Close the connection and release what it holds. Safe to repeat."""
        self._closing.set()
        self.calls.close()
        self.data.close()
        self.cluster.close()
