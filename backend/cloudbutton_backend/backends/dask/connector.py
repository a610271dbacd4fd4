"""Connects to the cluster in the background, with one attempt at a time that all callers share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.errors import BackendError

if TYPE_CHECKING:
    from cloudbutton_backend.backends.dask.connection import ClusterConnection

_WITHIN: Final = 120.0
"""Seconds within which a connection is there, or has failed."""


class Connector:
    """Makes connections. Safe from any thread.

    Parameters
    ----------
    notify
        Takes each connection that was made, and each error where none was.
    """

    def __init__(
        self,
        settings: DaskSettings,
        notify: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._notify, self._clock = settings, notify, clock
        self._lock = threading.Lock()
        self._attempt: Future[ClusterConnection] | None = None
        self._closed = False

    def begin(self, within: float | None = None) -> Future[ClusterConnection]:
        """Return the connection, or the attempt at one.

        Parameters
        ----------
        within
            Seconds for which the scheduler is looked for; None for the usual ones.
        """
        with self._lock:
            attempt = self._attempt
            if attempt is None or (attempt.done() and attempt.exception() is not None):
                attempt = self._attempt = Future()
                threading.Thread(
                    target=self._make,
                    args=(attempt, within),
                    name="cloudbutton-dask-connects",
                    daemon=True,
                ).start()
            return attempt

    def connection(self) -> ClusterConnection:
        """Return the connection, waiting for it.

        Raises
        ------
        BackendError
            There is none.
        """
        try:
            return self.begin().result(_WITHIN)
        except TookTooLong:
            raise BackendError(
                f"No connection with the Dask cluster came about within {_WITHIN:g} s."
            ) from None

    def reset(self) -> None:
        """Make a new connection at the next need: the present one was lost."""
        with self._lock:
            self._attempt = None

    def close(self) -> ClusterConnection | None:
        """Stop connecting; return the present connection, if any, for the caller to close. Safe to repeat."""
        with self._lock:
            self._closed = True
            attempt, self._attempt = self._attempt, None
        if attempt is None or not attempt.done() or attempt.exception() is not None:
            return None
        return attempt.result(0)

    def _make(self, attempt: Future[ClusterConnection], within: float | None) -> None:
        try:
            connection = self._connect(within)
        except BaseException as error:
            attempt.set_exception(error)
            self._notify(error)
            return
        with self._lock:  # `close` has it if it was there by then
            attempt.set_result(connection)
            closed = self._closed
        if closed:
            connection.close()
        self._notify(connection)

    def _connect(self, within: float | None) -> ClusterConnection:
        if self._closed:
            raise BackendError("The Dask backend was closed.")
        from cloudbutton_backend.backends.dask.cluster import CONNECT_WITHIN, DaskCluster
        from cloudbutton_backend.backends.dask.connection import ClusterConnection

        settings = self._settings
        cluster = DaskCluster(settings, within or CONNECT_WITHIN)
        try:
            return ClusterConnection(
                cluster, self._notify, self._clock, settings.worker_hour, settings.keep_results
            )
        except BaseException:
            cluster.close()
            raise
