"""The work of the journal's thread: write, beat, deliver commands. It keeps no time itself."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.journal.database import is_corruption
from cloudbutton_backend.journal.fsync import FileSync
from cloudbutton_backend.journal.records import JobCommand
from cloudbutton_backend.journal.tables import JournalTables
from cloudbutton_backend.journal.write_batch import Entry, shrink

#: Seconds between checks of the commands while a job runs: a Cancel acts within a second.
POLL: Final = 0.2
#: The same for a process that only has finished jobs, for "retry".
IDLE_POLL: Final = 1.0
#: Seconds between two heartbeats of live jobs; readers get suspicious after ten.
BEAT: Final = 2.0


class WriteSchedule:
    """Tells what is due at a time, and how long until something is. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._next_beat = 0.0
        self._next_poll = 0.0

    def beat_is_due(self, now: float, *, live: bool) -> bool:
        """Whether live jobs need a heartbeat now; if so, the next one is planned."""
        if not live:
            self._next_beat = now + BEAT  # a job that begins has its first one in its row
            return False
        if now < self._next_beat:
            return False
        self._next_beat = now + BEAT
        return True

    def poll_is_due(self, now: float, *, live: bool) -> bool:
        """Whether to look for commands now; if so, the next look is planned."""
        if now < self._next_poll:
            return False
        self._next_poll = now + (POLL if live else IDLE_POLL)
        return True

    def wait(self, now: float, *, live: bool, listening: bool) -> float | None:
        """Return the seconds until something is due; None when nothing ever is."""
        times = [self._next_beat] * live + [self._next_poll] * listening
        return max(0.0, min(times) - now) if times else None


#: Entries kept in memory while the disk refuses them.
MAX_BACKLOG: Final = 20_000
#: Seconds before the first and, doubling, the later new tries.
FIRST_RETRY: Final = 0.5
LAST_RETRY: Final = 30.0
#: Seconds that a flush waits for the disk.
SYNC_PATIENCE: Final = 10.0

#: What an entry that does not fit raises; SQLite says IntegrityError or ProgrammingError.
_BAD_ENTRY: Final = (sqlite3.Error, ValueError, TypeError, OverflowError)


class WriteLoop:
    """Owns the database connection and the sync thread; used by one thread only."""

    def __init__(
        self,
        home: Path,
        *,
        warn: Callable[[str], None],
        trouble: Callable[[str | None], None] = lambda line: None,
        callbacks: Sequence[Callable[[JobCommand], None]] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._warn = warn
        self._trouble = trouble
        self._callbacks = callbacks
        self._clock = clock
        self._wall_clock = wall_clock
        self._store = JournalTables(home, clock=wall_clock)
        self._wal = self._store.path.with_name(self._store.path.name + "-wal")
        self._sync = FileSync(warn)
        self._schedule = WriteSchedule()
        self._backlog: list[Entry] = []
        self._ended = False
        self._retry_at = 0.0
        self._delay = FIRST_RETRY

    def run_due(self, entries: Sequence[Entry | Path], *, urgent: bool = False) -> bool:
        """Do what is due; return whether everything recorded so far is in the database."""
        now = self._clock()
        self._backlog += [entry for entry in entries if not isinstance(entry, Path)]
        self._ended = False
        if self._backlog and (urgent or now >= self._retry_at):
            self._attempt(lambda: self._write(urgent))
        for path in dict.fromkeys(entry for entry in entries if isinstance(entry, Path)):
            self._sync.mark(path)
        live = self._store.has_live_jobs
        if self._ended and not live:
            self._sync.hasten()  # the last job has ended: nothing more comes to wait for
        if self._schedule.beat_is_due(now, live=live) and now >= self._retry_at:
            self._attempt(self._store.beat)
        if self._callbacks and self._schedule.poll_is_due(now, live=live):
            self._deliver_commands()
        if self._store.notice:
            self._warn(self._store.notice)
        return not self._backlog

    def seconds_idle(self) -> float | None:
        """Return the seconds for which nothing is due unless something is recorded."""
        now = self._clock()
        listening = bool(self._callbacks) and self._store.has_jobs
        seconds = self._schedule.wait(now, live=self._store.has_live_jobs, listening=listening)
        if self._backlog and self._retry_at < math.inf:
            seconds = min(seconds or 0.0, max(0.0, self._retry_at - now))
        return seconds

    def flush_files(self) -> bool:
        """Wait until every dirty file is on the disk."""
        return self._sync.flush(SYNC_PATIENCE)

    def close(self) -> None:
        """Sync the files, and close the journal."""
        self._sync.close(SYNC_PATIENCE)
        self._store.close()

    def _write(self, urgent: bool) -> None:
        try:
            self._commit(self._backlog)
        except _BAD_ENTRY as error:
            if not is_corruption(error):
                self._write_singly()
            elif urgent:  # the broken file is out of the way: nothing stops a second try
                self._commit(self._backlog)
            else:
                raise
        self._backlog.clear()
        # In WAL mode a commit is in this file, and safe once the file is.
        self._sync.mark(self._wal)

    def _write_singly(self) -> None:
        """One entry cannot be written as it is; let it not take the others with it."""
        for entry in self._backlog:
            try:
                self._commit([entry])
            except _BAD_ENTRY as error:
                self._warn(f"The journal could not keep {type(entry).__name__}: {error}")

    def _commit(self, entries: Sequence[Entry]) -> None:
        try:
            self._ended |= bool(self._store.write(entries))
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error  # the disk, or a lock: not an entry's fault

    def _attempt(self, action: Callable[[], Any]) -> None:
        """Do something with the database; after a failure plan when to try again."""
        try:
            action()
        except JournalError as error:
            self._trouble(f"{error} Until then jobs run, but are not recorded.")
            self._retry_at = math.inf
        except (sqlite3.Error, OSError) as error:
            if is_corruption(error):
                self._retry_at = 0.0
                return  # kept aside by the store, which also says so
            self._trouble(
                f"{self._store.path} cannot be written ({error}). Jobs go on and lose nothing, "
                f"but they are not listed until it can."
            )
            self._retry_at = self._clock() + self._delay
            self._delay = min(2 * self._delay, LAST_RETRY)
        else:
            self._delay, self._retry_at = FIRST_RETRY, 0.0
            self._trouble(None)
        if len(self._backlog) > MAX_BACKLOG:
            self._backlog = shrink(self._backlog, MAX_BACKLOG // 4, self._wall_clock())

    def _deliver_commands(self) -> None:
        commands: list[JobCommand] = []
        self._attempt(lambda: commands.extend(self._store.take_commands()))
        for command in commands:
            for callback in tuple(self._callbacks):
                try:
                    callback(command)
                except Exception as error:
                    self._warn(f"`{command.verb}` of job {command.job_id} failed: {error!r}")
