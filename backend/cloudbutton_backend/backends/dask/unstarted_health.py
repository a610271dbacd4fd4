"""What can be said of a cluster that is made only when it is needed, without making it."""

from __future__ import annotations

from collections.abc import Iterator

from cloudbutton_backend.backends.capabilities import HealthLine


def prospect(workers: int) -> Iterator[HealthLine]:
    """Yield what can be said of a cluster with so many workers on this machine."""
    yield HealthLine("scheduler", True, "made here, on this machine, when a job needs it")
    yield HealthLine("workers", True, f"{workers:,} then, a process with one thread each")
