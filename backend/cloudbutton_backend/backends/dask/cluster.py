"""A Dask cluster: connected to or started here, its workers, and which of them may run a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import distributed

from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.backends.dask.shipped_code import ShippedCall, plugin_name
from cloudbutton_backend.errors import BackendError, UsageError
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus

CONNECT_WITHIN: Final = 10.0
"""Seconds for which a scheduler is looked for."""
ANSWER_WITHIN: Final = 20.0
"""Seconds that a scheduler has for a question."""
EQUIP_WITHIN: Final = 60.0
"""Seconds that all workers together have to take our code: one that is suspended must not hold up
the connection for ever."""
WORKERS_WITHIN: Final = 300.0
"""Seconds for which workers are waited for: machines may have to be started."""
RESOURCE: Final = "MEMORY"
"""As Dask's own documentation calls it: `dask worker --resources "MEMORY=100e9"`."""
_MiB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A Dask worker, as its scheduler knows it."""

    address: str
    threads: int
    memory: int
    """Bytes that it may use; 0 if that is not limited."""
    resources: dict[str, float]

    @property
    def share(self) -> int:
        """The memory in bytes for each of its threads."""
        return self.memory // max(1, self.threads)


class DaskCluster:
    """A scheduler and its workers. Safe from any thread but Dask's own.

    Parameters
    ----------
    within
        Seconds for which the scheduler is looked for.
    """

    def __init__(self, settings: DaskSettings, within: float = CONNECT_WITHIN) -> None:
        client = settings.client
        self._own: list[Any] = []
        """What was made here, to be closed in this order."""
        self.is_local = client is None and settings.address is None
        """Whether it was made by us, on this machine: its workers see the same files."""
        if client is not None:
            _await_running(client, within)
        self.client = client or self._connect(settings, within)
        try:
            self.client.sync(self._equip, callback_timeout=EQUIP_WITHIN)
        except (TimeoutError, asyncio.TimeoutError):
            self.close()
            raise BackendError(
                f"The Dask workers did not take our code within {EQUIP_WITHIN:g} s. Is one of them"
                " suspended?"
            ) from None
        except Exception as error:
            self.close()
            raise BackendError(f"The Dask workers did not take our code: {error}") from error
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<DaskCluster: {self.address}, {self.client.status}>"

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        scheduler = self.client.scheduler
        return "of a closed client" if scheduler is None else str(scheduler.address)

    @property
    def is_lost(self) -> bool:
        """Whether the connection to the scheduler is gone."""
        return bool(self.client.status != "running")

    async def _equip(self) -> None:
        """Send our code to all workers, present and future."""
        await self.client.register_plugin(ShippedCall(), name=plugin_name())

    def _connect(self, settings: DaskSettings, within: float) -> Any:
        target: Any = settings.address
        try:
            if target is None:
                target = self._make_local(settings.workers or usable_cpus())
            security = settings.security
            if security is None and settings.tls_ca:
                security = distributed.Security(
                    tls_ca_file=settings.tls_ca,
                    tls_client_cert=settings.tls_cert,
                    tls_client_key=settings.tls_key,
                    require_encryption=True,
                )
            client = distributed.Client(
                target,
                set_as_default=False,
                timeout=within,
                security=security,
                direct_to_workers=self.is_local or None,
            )
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            self.close()
            if settings.address is None:
                raise BackendError(f"No Dask cluster could be started here: {error}") from error
            raise BackendError(_unreachable(settings.address, error)) from error
        self._own.insert(0, client)
        return client

    def _make_local(self, workers: int) -> Any:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            host="127.0.0.1",
            silence_logs=logging.CRITICAL,
        )
        self._own.append(cluster)
        return cluster

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the present workers.

        Raises
        ------
        OSError, TimeoutError
            The scheduler does not answer.
        """
        found = self.client.sync(self.client.scheduler.identity, callback_timeout=ANSWER_WITHIN)
        return tuple(
            WorkerInfo(
                address,
                int(each["nthreads"]),
                int(each.get("memory_limit") or 0),
                dict(each.get("resources") or {}),
            )
            for address, each in found["workers"].items()
        )

    def await_worker(self) -> None:
        """Wait until there is a worker, asking for one where the cluster grows on demand.

        Raises
        ------
        BackendError
            None came.
        """
        if self.workers():
            return
        demand = self.client.submit(bytes, b"", pure=False)
        try:
            self.client.wait_for_workers(1, timeout=WORKERS_WITHIN)
        except TimeoutError as error:
            raise BackendError(no_workers(self.address, WORKERS_WITHIN)) from error
        finally:
            demand.release()

    def close(self) -> None:
        """Close what was made here. Safe to repeat."""
        while self._own:
            with contextlib.suppress(Exception):  # it is lost already
                self._own.pop(0).close()


def _await_running(client: Any, within: float) -> None:
    """Wait for a client of the user's that may be connecting again.

    Raises
    ------
    BackendError
        It is closed, or does not get through.
    """
    until = time.monotonic() + within
    while client.status != "running":
        if client.status == "closed" or time.monotonic() > until:
            raise BackendError(
                f"The Dask client that was given is not connected (it is {client.status}). Make a new "
                f'one and say `cloud.use("dask", client=client)`.'
            )
        threading.Event().wait(0.05)


def _unreachable(address: str, error: BaseException) -> str:
    return (
        f"No Dask scheduler answers at {address}: {error}. See that it runs (`dask scheduler`), that the "
        f"address is its own, and that this machine may connect to it"
        + (
            "; a scheduler with TLS has an address that begins with `tls://`."
            if not address.startswith("tls")
            else "."
        )
    )


def no_workers(address: str, seconds: float) -> str:
    """Return the message for a cluster without workers."""
    return (
        f"The Dask cluster at {address} has had no workers for {seconds:,.0f} s. Start some "
        f"(`dask worker {address}`), or see why it does not scale up."
    )


def placement(memory: int | None, workers: Sequence[WorkerInfo]) -> dict[str, Any]:
    """Return Dask's restrictions on where a call may run.

    Where workers say how much memory they have to give, Dask runs as many calls at a time as fit.
    Otherwise a worker must have so much for each of its threads.

    Parameters
    ----------
    memory
        MiB that an item may use.

    Raises
    ------
    UsageError
        No worker has so much; it says what they have.
    """
    if memory is None or not workers:
        return {}
    nbytes = memory * _MiB
    if any(RESOURCE in worker.resources for worker in workers):
        most = max(worker.resources.get(RESOURCE, 0.0) for worker in workers)
        if most < nbytes:
            raise UsageError(_too_much(memory, most, f"as the resource {RESOURCE}"))
        return {"resources": {RESOURCE: nbytes}}
    fit = [worker.address for worker in workers if not worker.memory or worker.share >= nbytes]
    if not fit:
        raise UsageError(
            _too_much(memory, max(worker.share for worker in workers), "for each of its threads")
        )
    return {} if len(fit) == len(workers) else {"workers": fit}


def _too_much(memory: int, most: float, how: str) -> str:
    return (
        f"No Dask worker has {memory:,} MiB: the largest has {most / _MiB:,.0f} MiB {how}. Ask for less "
        f"(`memory=`, in a cell `--memory`), or start workers with more or with fewer threads."
    )
