"""A connection to a cluster: made on demand or given, equipped with our code, watched, and let go of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import distributed

from cloudbutton_backend.backends.dask.settings import Settings
from cloudbutton_backend.backends.dask.shipped import Shipped, plugin_name
from cloudbutton_backend.backends.local.cpus import usable_cpus
from cloudbutton_backend.errors import BackendError

CONNECT_WITHIN: Final = 10.0
"""Seconds for which a scheduler is looked for."""


class Cluster:
    """A scheduler and its workers, as far as we deal with them.

    Parameters
    ----------
    client
        Of the user's; None to make one, which is closed in the end.
    security
        Keys and certificates for a client of ours; None for those of the settings, or of Dask's own.
    """

    def __init__(self, settings: Settings, client: Any = None, security: Any = None) -> None:
        self._own: list[Any] = []
        """What was made here, to be closed in this order."""
        self.is_local = client is None and settings.address is None
        """Whether it was made by us, on this machine: its workers see the same files."""
        self.client = client or self._connect(settings, security)
        try:
            self.client.register_plugin(Shipped(), name=plugin_name())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Cluster: {self.address}, {self.client.status}>"

    @property
    def address(self) -> str:
        """Of the scheduler."""
        scheduler = self.client.scheduler
        return "a closed client" if scheduler is None else str(scheduler.address)

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler does not answer."""
        return bool(self.client.status != "running")

    def _connect(self, settings: Settings, security: Any) -> Any:
        if settings.address is None:
            cluster = distributed.LocalCluster(
                n_workers=settings.workers or usable_cpus(),
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                host="127.0.0.1",
                silence_logs=logging.ERROR,
            )
            self._own.append(cluster)
            target: Any = cluster
        else:
            target = settings.address
        if security is None and settings.tls_ca:
            security = distributed.Security(
                tls_ca_file=settings.tls_ca,
                tls_client_cert=settings.tls_cert,
                tls_client_key=settings.tls_key,
                require_encryption=True,
            )
        try:
            client = distributed.Client(
                target, set_as_default=False, timeout=CONNECT_WITHIN, security=security
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            self.close()
            raise BackendError(
                f"The Dask scheduler at {settings.address} could not be reached: {error}"
            ) from error
        self._own.insert(0, client)
        return client

    def threads(self) -> Mapping[str, int]:
        """Return how many threads each worker has, by its address."""
        found: Mapping[str, int] = self.client.nthreads()
        return found

    def close(self) -> None:
        """Let go of what was made here. Safe to repeat."""
        for each in self._own:
            with contextlib.suppress(Exception):  # it is lost already
                each.close()
        self._own.clear()
