"""Gets to the cluster, in the background, one attempt at a time; who needs it waits for that attempt."""

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
    """Makes links. Safe from any thread.

    Parameters
    ----------
    given
        A client of the user's, or None.
    security
        To connect with; None for that of the settings.
    tell
        Takes each link that was made, and each error where none was.
    """

    def __init__(
        self,
        settings: DaskSettings,
        given: Any,
        security: Any,
        tell: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._given, self._security = settings, given, security
        self._tell, self._clock = tell, clock
        self._lock = threading.Lock()
        self._attempt: Future[ClusterConnection] | None = None
        self._closed = False

    def begin(self, within: float | None = None) -> Future[ClusterConnection]:
        """Return the link, or the attempt at one.

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

    def link(self) -> ClusterConnection:
        """Return the link, waiting for it.

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

    def forget(self) -> None:
        """The link was lost: the next who needs one begins anew."""
        with self._lock:
            self._attempt = None

    def close(self) -> ClusterConnection | None:
        """Make no other link; return the one there is, which nobody closes here. Safe to repeat."""
        with self._lock:
            self._closed = True
            attempt, self._attempt = self._attempt, None
        if attempt is None or not attempt.done() or attempt.exception() is not None:
            return None
        return attempt.result(0)

    def _make(self, attempt: Future[ClusterConnection], within: float | None) -> None:
        try:
            link = self._new_link(within)
        except BaseException as error:
            attempt.set_exception(error)
            self._tell(error)
            return
        with self._lock:  # `close` has it if it was there by then
            attempt.set_result(link)
            closed = self._closed
        if closed:
            link.close()
        self._tell(link)

    def _new_link(self, within: float | None) -> ClusterConnection:
        if self._closed:
            raise BackendError("The Dask backend was closed.")
        from cloudbutton_backend.backends.dask import cluster
        from cloudbutton_backend.backends.dask import connection as link

        settings = self._settings
        made = cluster.DaskCluster(
            settings, self._given, self._security, within or cluster.CONNECT_WITHIN
        )
        try:
            return link.ClusterConnection(
                made, self._tell, self._clock, settings.worker_hour, settings.keep_results
            )
        except BaseException:
            made.close()
            raise
