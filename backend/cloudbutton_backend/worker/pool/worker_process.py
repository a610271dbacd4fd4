"""A worker of the local pool: its process, and what the pool has given it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from cloudbutton_backend.worker import status_page
from cloudbutton_backend.worker.child_process import ChildProcess, ProcessEnds, exec_worker


@dataclass(slots=True)
class BatchInWorker:
    """A batch that a worker holds."""

    batch: int
    job_id: str
    base: int
    """Ordinal of its first item, see `worker.status_page`."""
    first: int
    count: int
    slot: int | None
    """Number of the segment with its items."""


class WorkerProcess(ChildProcess):
    """A worker, from its start to the explanation of its end."""

    def __init__(self, name: str, environment: dict[str, str], *, stub: bool = False) -> None:
        def start(ends: ProcessEnds) -> subprocess.Popen[bytes]:
            # What shadows the standard library in the notebook's folder must not do so meanwhile.
            own = [entry for entry in sys.path if entry not in ("", os.getcwd())]
            path = [*own, *(entry for entry in sys.path if entry not in own)]
            flags = () if _needs_site() else ("-S",)
            return exec_worker(ends, path, environment, flags=flags, stub=stub)

        super().__init__(start)
        self.name = name
        self.pidfd = _pidfd(self.pid)
        self.up = False
        self.held: dict[int, BatchInWorker] = {}
        self.ended: list[str] = []
        """Jobs that it was not yet told to forget."""
        self.segments: set[int] = set()
        self.path: tuple[str, ...] | None = None
        self.environment: dict[str, str] | None = None
        self.force_at: float | None = None
        """When to kill it if it has not stopped by then."""
        self.overdue: int = -1

    def current(self) -> tuple[BatchInWorker, int] | None:
        """Return the batch and item it runs or ran last, None if that is not known."""
        ordinal = self.words[status_page.CURRENT]
        for held in self.held.values():
            if held.base <= ordinal < held.base + held.count:
                return held, held.first + ordinal - held.base
        return None

    def dispose(self) -> None:
        super().dispose()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _needs_site() -> bool:
    """Whether import hooks of editable installs are in use, which only `site` sets up.

    They are called ``__editable___NAME_finder``, ``_editable_impl_NAME`` or ``editables.redirector``.
    """
    modules = (
        getattr(finder, "__module__", "") or type(finder).__module__ for finder in sys.meta_path
    )
    return any("editable" in module for module in modules)


def _pidfd(pid: int) -> int:
    """Return a descriptor that tells of a process's end, -1 where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an older system than the Python was built for, a sandbox
        return -1
