"""What can be said of a cluster that is made only when it is needed, without making it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec


def prospect(workers: int) -> Iterator[tuple[str, bool, str]]:
    """Yield (name, whether it is well, in words) of a cluster with so many workers on this machine."""
    if find_spec("distributed") is None:
        yield "scheduler", False, 'Dask is not installed: `pip install "cloudbutton[dask]"`.'
        return
    yield "scheduler", True, "made here, on this machine, when a job needs it"
    yield "workers", True, f"{workers:,} then, a process with one thread each"
