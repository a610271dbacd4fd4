"""Whether a cluster is ready for jobs, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cloudbutton_backend.backends.capabilities import HealthLine

if TYPE_CHECKING:  # Dask may not be installed where a cluster has not been started
    from cloudbutton_backend.backends.dask.connection import ClusterConnection

_GiB: Final = 1 << 30


def health(connection: ClusterConnection) -> Iterator[HealthLine]:
    """Yield what jobs need and whether it is well; asks the cluster."""
    where = "made here, on this machine" if connection.cluster.is_local else connection.address
    yield HealthLine("scheduler", True, where)
    workers = connection.workers
    if not workers:
        detail = "none; a cluster that grows on demand starts them with the first job"
        yield HealthLine("workers", False, detail)
        return
    memory = sum(worker.memory for worker in workers)
    size = f", {memory / _GiB:,.1f} GiB" if memory else ""
    yield HealthLine("workers", True, f"{len(workers):,} with {connection.threads:,} threads{size}")
    lines = [] if connection.cluster.is_local else connection.versions.find_mismatches(())
    same = "Python, cloudpickle and Dask are the same there"
    yield HealthLine("versions", not lines, "; ".join(lines) or same)


def unstarted_health(workers: int) -> Iterator[HealthLine]:
    """Yield what can be said of a cluster on this machine before it is started."""
    yield HealthLine("scheduler", True, "made here, on this machine, when a job needs it")
    yield HealthLine("workers", True, f"{workers:,} then, a process with one thread each")
