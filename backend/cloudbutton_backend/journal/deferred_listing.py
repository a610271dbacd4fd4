"""Delays listing a job until it could be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any, NamedTuple, Protocol

from cloudbutton_backend.job_model import JobRecord


class Precondition(Protocol):
    """A precondition for listing a job."""

    @property
    def is_needed(self) -> bool:
        """Whether it has to happen at all, as things are now."""

    def begin(self, ready: Callable[[], None]) -> None:
        """Start it in a thread of its own; it calls `ready` once the job may be listed."""


class AnnouncedJob(NamedTuple):
    """A job, and what has to happen first."""

    job: JobRecord
    first: Precondition


class DeferredListing:
    """Holds back all that is recorded of a job until it may be listed. Used by the journal's thread.

    Parameters
    ----------
    call
        Called, on another thread, when a job that waited may be listed.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._waiting: dict[str, tuple[list[Any], Event]] = {}

    def release(self, entries: Iterable[Any]) -> list[Any]:
        """Return what may be written now, of `entries` and of what waited."""
        passed: list[Any] = []
        for entry in entries:
            if isinstance(entry, AnnouncedJob):
                if entry.first.is_needed:
                    self._hold(entry)
                else:
                    passed.append(entry.job)
            elif self._waiting and (held := self._waiting.get(getattr(entry, "job_id", ""))):
                held[0].append(entry)
            else:
                passed.append(entry)
        for job_id, (held_back, ready) in list(self._waiting.items()):
            if ready.is_set():
                passed += held_back
                del self._waiting[job_id]
        return passed

    def _hold(self, announced: AnnouncedJob) -> None:
        ready = Event()
        self._waiting[announced.job.id] = [announced.job], ready

        def pass_by() -> None:
            ready.set()
            self._call()

        try:
            announced.first.begin(pass_by)
        except Exception:  # no thread to be had, say: then nothing happens first
            ready.set()

    def wait_for_all(self, seconds: float) -> None:
        """Wait until no job is deferred, at most a few seconds; then list those that still are."""
        limit = time.monotonic() + seconds
        for _, ready in self._waiting.values():
            ready.wait(max(0.0, limit - time.monotonic()))
            ready.set()
