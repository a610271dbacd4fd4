"""The kernel's side of the journal: cheap calls on any thread, one thread that writes.

::

    any thread                       the journal's thread                       the sync thread
    ──────────                       ────────────────────                       ───────────────
    add_job, update_job, … ──deque──▶ gather 100 ms ─▶ one transaction ─▶ WAL ─┐
    sync_file ─────────────────────▶ ─────────────────── marked dirty ─────────┴▶ fsync, each file
                                     every 0.2 s: commands ─▶ callbacks            once a second
                                     every 2 s:   heartbeat
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.job_model import BatchRecord, JobRecord, Progress
from cloudbutton_backend.journal.deferred_listing import AnnouncedJob, DeferredListing, Precondition
from cloudbutton_backend.journal.records import (
    ClearErrors,
    ErrorRecord,
    JobCommand,
    LatestValues,
    LogRecord,
    ProgressUpdate,
)
from cloudbutton_backend.journal.schema import MUTABLE
from cloudbutton_backend.storage.home import home as default_home
from cloudbutton_backend.storage.home import home_warning

if TYPE_CHECKING:
    from cloudbutton_backend.journal.write_loop import WriteLoop

#: Seconds that entries gather before a transaction.
GATHER: Final = 0.1
#: Seconds that the end of the process waits for the last transaction.
EXIT_PATIENCE: Final = 2.0
#: Seconds that a flush waits for what has to happen before jobs are listed.
LISTING_PATIENCE: Final = 10.0
#: Lines about what went wrong that one process shows: more would say the same.
_MOST_NOTICES: Final = 5


class Journal:
    """Writes jobs to the journal under a home directory.

    The methods that record something may be called from any thread, take about a microsecond and
    never raise for the disk's sake: a job whose journal cannot be written goes on, and `warning`
    says why it is not listed. In a forked child they do nothing.
    """

    def __init__(self, home: Path) -> None:
        self.home: Final = home
        self.trouble: str | None = None
        """A line for the user about why nothing can be written now; None while all is well."""
        self._notices: list[str] = []
        self._unshown: list[str] = []
        self._queue: deque[Any] = deque()
        self._append: Callable[[Any], None] = self._enqueue
        self._signalled = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._writing = False
        self._closing = False
        self._callbacks: list[Callable[[JobCommand], None]] = []
        self._deferred_listing = DeferredListing(self._on_deferred_ready)
        self._thread = threading.Thread(target=self._run, name="cloudbutton-journal", daemon=True)

    @classmethod
    def open(cls, home: Path | None = None) -> Journal:
        """Return a journal under `home` (default: the user's); nothing is read or written yet.

        Raises
        ------
        SettingsError
            The home directory belongs to, or is open to, other users.
        """
        journal = cls(default_home() if home is None else home)
        if home is None:
            journal._warn(home_warning())
        _OPEN.add(journal)
        journal._thread.start()
        return journal

    def __repr__(self) -> str:
        condition = "closed" if self._append is _ignore else "open"
        trouble = f", {self.warning}" if self.warning else ""
        return f"<Journal {self.home} {condition}, {len(self._queue)} waiting{trouble}>"

    @property
    def warning(self) -> str | None:
        """One line for the user about what is or was wrong; None if nothing is and was."""
        return self.trouble or next(iter(self._notices), None)

    def pop_notices(self) -> list[str]:
        """Return lines about what went wrong once, each a single time: for a job to show."""
        unshown, self._unshown = self._unshown, []
        return unshown

    def add_job(self, job: JobRecord, first: Precondition | None = None) -> None:
        """Record a job that begins now, in this process unless the record says otherwise.

        Nothing of it is listed before `first` has happened, if it is still needed by then.
        """
        self._append(job if first is None else AnnouncedJob(job, first))

    def update_job(self, job_id: str, **columns: Any) -> None:
        """Record new values for columns of the table `jobs`.

        A value may be a function without arguments, called when the row is written.
        A final `state` sets `ended` and a state that is not clears it, unless it is given.
        """
        if not columns.keys() <= MUTABLE:
            raise TypeError(f"not a column that can change: {sorted(columns.keys() - MUTABLE)}")
        self._append(ProgressUpdate(job_id, columns))

    def update_progress(self, progress: Progress) -> None:
        """Record a snapshot of a job; of those within one transaction the last one counts."""
        self._append(progress)

    def update_latest(self, job_id: str, take: Callable[[], Progress]) -> None:
        """Record how far a job is by the time this is written; `take` is called then."""
        self._append(LatestValues(job_id, take))

    def add_batch(self, batch: BatchRecord) -> None:
        """Record a batch that has ended."""
        self._append(batch)

    def add_error(self, error: ErrorRecord) -> None:
        """Record one item's exception; the first hundred of a job are kept."""
        self._append(error)

    def clear_errors(self, job_id: str) -> None:
        """Forget a job's exceptions, because its failed items are tried again."""
        self._append(ClearErrors(job_id))

    def add_log(self, log: LogRecord) -> None:
        """Record printed output; the last 64 KiB of a job are kept."""
        self._append(log)

    def sync_file(self, path: Path) -> None:
        """Sync `path` within a second, and when its job ends."""
        self._append(path)

    def on_command(self, callback: Callable[[JobCommand], None]) -> Callable[[], None]:
        """Call `callback`, on the journal's thread, with each command for this process's jobs.

        Returns
        -------
        A function that ends it.
        """
        self._callbacks.append(callback)
        if self._writing:
            self._wake.set()  # it may be asleep until the next heartbeat
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything recorded so far is in the database and its files on the disk.

        Returns
        -------
        False when `timeout` seconds did not suffice, or the disk refuses (see `warning`).
        """
        if self._append is _ignore:
            return not self._queue
        barrier = _Barrier()
        self._append(barrier)
        self._hurry.set()
        return barrier.passed.wait(timeout) and barrier.written

    def close(self, timeout: float | None = EXIT_PATIENCE) -> bool:
        """Write what is waiting and end; later calls do nothing. Returns whether all is written."""
        if self._append is _ignore:
            return not self._queue
        written = self.flush(timeout)
        self._append = _ignore
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout)
        _OPEN.discard(self)
        return written

    def _enqueue(self, entry: Any) -> None:
        self._queue.append(entry)
        # An Event costs more than the append, so it is set once per transaction. The thread
        # lowers the flag before it empties the queue: an entry that finds it raised is seen.
        if not self._signalled:
            self._signalled = True
            self._wake.set()

    def _on_deferred_ready(self) -> None:
        """A deferred job may be listed now."""
        self._hurry.set()
        self._wake.set()

    def _run(self) -> None:
        self._wake.wait()  # ends: with the first entry, or with close(); the thread is a daemon
        if self._closing and not self._queue:
            return
        from cloudbutton_backend.journal.write_loop import (
            WriteLoop,  # sqlite3: only where there are jobs
        )

        # A local on purpose. After a fork the child has no such thread, so nothing there ever
        # drops the last reference to the connection; closing it in the child would end
        # transactions and remove log files that are the parent's.
        self._writing = True
        write_loop = WriteLoop(
            self.home, warn=self._warn, trouble=self._set_trouble, callbacks=self._callbacks
        )
        while not self._closing:
            if self._wake.wait(write_loop.seconds_idle()):
                self._hurry.wait(GATHER)
            self._write_waiting(write_loop)
        self._write_waiting(write_loop)
        write_loop.close()

    def _write_waiting(self, write_loop: WriteLoop) -> None:
        self._hurry.clear()
        self._wake.clear()
        self._signalled = False
        taken = [self._queue.popleft() for _ in range(len(self._queue))]
        barriers = [entry for entry in taken if isinstance(entry, _Barrier)]
        entries = [entry for entry in taken if not isinstance(entry, _Barrier)]
        entries = self._deferred_listing.release(entries)
        if barriers:
            self._deferred_listing.wait_for_all(LISTING_PATIENCE)
            entries += self._deferred_listing.release(())
        written = False
        try:
            written = write_loop.run_due(entries, urgent=bool(barriers))
            if barriers:
                written = write_loop.flush_files() and written
        except Exception as error:  # the job matters more than its record
            self._warn(f"The journal lost entries: {error!r}")
        for barrier in barriers:
            barrier.written = written
            barrier.passed.set()

    def _warn(self, line: str | None) -> None:
        if line is not None and line not in self._notices and len(self._notices) < _MOST_NOTICES:
            self._notices.append(line)
            self._unshown.append(line)

    def _set_trouble(self, line: str | None) -> None:
        self.trouble = line

    def disarm(self) -> None:
        """Make this a journal that does nothing: we are a forked child, and it is the parent's."""
        self._append = _ignore
        self._queue.clear()


class _Barrier:
    """A place in the queue that a thread waits for."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.written = False


def _ignore(entry: Any) -> None:
    """Take an entry of a journal that is closed or belongs to another process."""


#: Journals of this process that have a thread.
_OPEN: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_all() -> None:
    for journal in tuple(_OPEN):
        journal.close()


def _disarm_all() -> None:
    for journal in tuple(_OPEN):
        journal.disarm()
    _OPEN.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disarm_all)
