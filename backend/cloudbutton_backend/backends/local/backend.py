"""The local backend: a pool of worker processes behind the protocol."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Set
from typing import Final

from cloudbutton_backend.backends.protocol import JobSpec, Limits
from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.worker.context import in_task
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus
from cloudbutton_backend.worker.pool.pool import MAX_WORKERS, WorkerPool

BATCH_SECONDS: Final = 0.05
"""Work in one batch: what the kernel does for each then takes under 2 % of its CPU. Results are sent
earlier than that where they wait, and what has not begun can be taken back."""


class LocalBackend(WorkerPool):
    """Worker processes on this machine.

    Parameters
    ----------
    workers
        How many. Empty, or None: as many as this process may use CPUs.
    clock
        Seconds that only go forward.
    """

    name = "local"

    def __init__(
        self, workers: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if workers is not None and not 1 <= workers <= MAX_WORKERS:
            raise UsageError(f"`workers` must be between 1 and {MAX_WORKERS}, not {workers}.")
        if in_task():  # all CPUs have a worker already, so one more is enough
            workers = 1
        super().__init__(workers or usable_cpus(), clock=clock)

    @property
    def limits(self) -> Limits:
        return Limits(
            workers=self._usual,
            batch_seconds=BATCH_SECONDS,
            is_this_machine=True,
            shares_files=True,
            can_revoke=True,
            can_limit_memory=sys.platform.startswith("linux"),
        )

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Nothing to prepare: workers start by themselves."""
