"""Whether a cluster is ready for jobs, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudbutton_backend.backends.capabilities import HealthLine
from cloudbutton_backend.backends.dask.connection import ClusterConnection

_GiB: Final = 1 << 30


def health(link: ClusterConnection) -> Iterator[HealthLine]:
    """Yield what jobs need and whether it is well; asks the cluster."""
    where = "made here, on this machine" if link.cluster.is_local else link.address
    yield HealthLine("scheduler", True, where)
    workers = link.workers
    if not workers:
        detail = "none; a cluster that grows on demand starts them with the first job"
        yield HealthLine("workers", False, detail)
        return
    memory = sum(worker.memory for worker in workers)
    size = f", {memory / _GiB:,.1f} GiB" if memory else ""
    yield HealthLine("workers", True, f"{len(workers):,} with {link.threads:,} threads{size}")
    lines = [] if link.cluster.is_local else link.versions.find_mismatches(())
    same = "Python, cloudpickle and Dask are the same there"
    yield HealthLine("versions", not lines, "; ".join(lines) or same)
