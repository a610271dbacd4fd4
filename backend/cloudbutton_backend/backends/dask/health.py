"""Whether a cluster is ready for jobs, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudbutton_backend.backends.dask.link import Link

_GiB: Final = 1 << 30


def health(link: Link) -> Iterator[tuple[str, bool, str]]:
    """Yield (name, whether it is well, in words) of all that jobs need; asks the cluster."""
    where = "made here, on this machine" if link.cluster.is_local else link.address
    yield "scheduler", True, where
    workers = link.workers
    if not workers:
        yield (
            "workers",
            False,
            "none; a cluster that grows on demand starts them with the first job",
        )
        return
    memory = sum(worker.memory for worker in workers)
    size = f", {memory / _GiB:,.1f} GiB" if memory else ""
    yield "workers", True, f"{len(workers):,} with {link.threads:,} threads{size}"
    lines = [] if link.cluster.is_local else link.versions.find_mismatches(())
    yield (
        "versions",
        not lines,
        "; ".join(lines) or "Python, cloudpickle and Dask are the same there",
    )
