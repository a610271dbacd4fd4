"""Which workers may run a job's calls, where it says how much memory each needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cloudbutton_backend.backends.dask.cluster import WorkerInfo
from cloudbutton_backend.errors import UsageError

RESOURCE: Final = "MEMORY"
"""As Dask's own documentation calls it: `dask worker --resources "MEMORY=100e9"`."""
_MiB: Final = 1 << 20


def placement(memory: int | None, workers: Sequence[WorkerInfo]) -> dict[str, Any]:
    """Return what Dask is told about where a call may run.

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
