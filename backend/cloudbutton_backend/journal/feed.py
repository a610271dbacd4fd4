"""Reads changes of the journal, at a cost that does not depend on its size.

A look costs `PRAGMA data_version` on a connection that is kept, and nothing else as long as nobody has
written. Then the jobs are read whose number is above the last one seen (numbering.py gives them out).
That a job's process has died is written nowhere; so the processes of unfinished jobs are looked at.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import database, rows
from cloudbutton_backend.journal.liveness import LivenessCheck
from cloudbutton_backend.journal.records import JobRow
from cloudbutton_backend.journal.sequence import Position
from cloudbutton_backend.storage.sqlite import transaction

Answer = TypeVar("Answer")

#: Jobs in the first message to a reader.
NEWEST: Final = 50
#: Changed jobs in one message; a reader that missed more starts over.
MOST: Final = 1_000
#: Seconds between checks of the processes of unfinished jobs.
LOOK_OUT: Final = 1.0

_LISTED: Final = ", ".join(rows.LISTED)
_UNFINISHED: Final = "state IN ('running', 'cancelling')"


@dataclass(frozen=True, kw_only=True)
class News:
    """The changes since a reader was last up to date."""

    cursor: str
    """The end of these changes. Opaque; pass it in to get the changes after it."""
    jobs: tuple[JobRow, ...] = ()
    removed: tuple[str, ...] = ()
    is_reset: bool = False
    """What was known before is void: these are the newest jobs, of this or another journal."""

    def __bool__(self) -> bool:
        return bool(self.jobs or self.removed or self.is_reset)


class Feed:
    """Follows the journal under `home`. For one thread at a time.

    Raises
    ------
    JournalError
        From `look` and `since`, when the journal is damaged or of a newer version.
    """

    def __init__(
        self,
        home: Path,
        *,
        clock: Callable[[], float] = time.time,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._path = home / database.NAME
        self._clock = clock
        self._trace = trace
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._version: int | None = None
        self._position = Position("", 0)
        self._unfinished: dict[str, JobRow] = {}
        self._look_out_at = 0.0

    def __repr__(self) -> str:
        condition = "closed" if self._connection is None else f"at {self.cursor}"
        return f"<Feed {self._path} {condition}, {len(self._unfinished)} unfinished jobs>"

    @property
    def cursor(self) -> str:
        """The position of this feed."""
        return str(self._position)

    def ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """Return what a function of `queries` says to the latest look; None without a journal."""
        if self._connection is None:
            return None
        with database.translated(self._path):
            return question(self._connection)

    def look(self) -> News:
        """Return what has happened since the last look; the first one returns the newest jobs."""
        with database.translated(self._path):
            opened = self._follow_the_file()
            if self._connection is None:
                return self._without_a_journal()
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version and not opened:
                return News(cursor=self.cursor, jobs=self._changed_fates())
            news = self._read_on()
            self._version = version  # of before the reading: what came meanwhile is read next time
            told = {job.id for job in news.jobs}
            fates = tuple(job for job in self._changed_fates() if job.id not in told)
            return replace(news, jobs=news.jobs + fates)

    def since(self, cursor: str | None) -> News:
        """Return the changes since `cursor`, as of the last poll.

        Jobs that were lost without anybody writing it down are among it, known or not.
        """
        if self._connection is None:
            return News(cursor=self.cursor, is_reset=cursor != self.cursor)
        position = Position.parse(cursor)
        with database.translated(self._path), self._snapshot() as connection:
            news = self._read(connection, position)
        told = {job.id for job in news.jobs}
        lost = (job for job in self._unfinished.values() if job.state is JobState.LOST)
        more = () if news.is_reset else tuple(job for job in lost if job.id not in told)
        # Changes since the last poll will be repeated by the next one, which does no harm.
        return replace(news, jobs=news.jobs + more, cursor=self.cursor)

    def close(self) -> None:
        """Close the file; a later look opens it again."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _follow_the_file(self) -> bool:
        """Open the journal that is there now; return whether it has just been opened."""
        inode = database.inode(self._path)
        if self._connection is not None and inode == self._inode:
            return False
        self.close()
        if inode is None:
            return False
        self._connection = database.open_for_reading(self._path)
        self._inode = inode
        if self._connection is None:  # it is being made
            return False
        self._connection.set_trace_callback(self._trace)
        return True

    def _without_a_journal(self) -> News:
        had_one, self._position = bool(self._position.epoch), Position("", 0)
        self._unfinished = {}
        return News(cursor=self.cursor, is_reset=had_one)

    def _read_on(self) -> News:
        with self._snapshot() as connection:
            news = self._read(connection, self._position)
            if news.is_reset:
                self._unfinished = {}
                unfinished = f"SELECT {_LISTED} FROM jobs WHERE {_UNFINISHED}"
                self._note(self._as_they_are(connection.execute(unfinished)))
        if not self._position.epoch and not news.jobs:
            news = replace(news, is_reset=False)  # a journal is there now, and nothing in it
        self._position = Position.parse(news.cursor)
        self._note(news.jobs)
        for job_id in news.removed:
            self._unfinished.pop(job_id, None)
        return news

    def _read(self, connection: sqlite3.Connection, position: Position) -> News:
        epoch, latest, forgotten = connection.execute("SELECT * FROM changes").fetchone()
        cursor = str(Position(epoch, latest))
        if position.epoch == epoch and forgotten <= position.number <= latest:
            changed = connection.execute(
                f"SELECT {_LISTED} FROM jobs WHERE changed > ? ORDER BY changed LIMIT ?",
                (position.number, MOST + 1),
            ).fetchall()
            if len(changed) <= MOST:
                removed = connection.execute(
                    "SELECT job_id FROM removed WHERE changed > ? "
                    "AND NOT EXISTS (SELECT 1 FROM jobs WHERE id = job_id)",
                    (position.number,),
                )
                return News(
                    cursor=cursor,
                    jobs=self._as_they_are(changed),
                    removed=tuple(row["job_id"] for row in removed),
                )
        newest = connection.execute(
            f"SELECT {_LISTED} FROM jobs ORDER BY created DESC, id LIMIT ?", (NEWEST,)
        )
        return News(cursor=cursor, jobs=self._as_they_are(newest), is_reset=True)

    def _as_they_are(self, found: Iterable[sqlite3.Row]) -> tuple[JobRow, ...]:
        return tuple(rows.job_rows(found, LivenessCheck(self._clock())))

    def _note(self, jobs: Iterable[JobRow]) -> None:
        for job in jobs:
            if job.state.is_final and job.state is not JobState.LOST:
                self._unfinished.pop(job.id, None)
            else:
                self._unfinished[job.id] = job

    def _changed_fates(self) -> tuple[JobRow, ...]:
        """Return the unfinished jobs whose process has ended, or appeared, since the last check."""
        now = self._clock()
        if now < self._look_out_at or not self._unfinished or self._connection is None:
            return ()
        self._look_out_at = now + LOOK_OUT
        liveness = LivenessCheck(now)
        suspects = {job.id for job in self._unfinished.values() if _is_suspect(job, liveness)}
        if not suspects:
            return ()
        # Their rows may have a later heartbeat, which is no change; so they are read again.
        unfinished = self._connection.execute(f"SELECT {_LISTED} FROM jobs WHERE {_UNFINISHED}")
        found = [row for row in unfinished if row["id"] in suspects]
        now_known = rows.job_rows(found, liveness)
        changed = [job for job in now_known if job.state is not self._unfinished[job.id].state]
        self._note(now_known)
        return tuple(changed)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read everything from one state of the database."""
        assert self._connection is not None
        with transaction(self._connection, "DEFERRED"):
            yield self._connection


def _is_suspect(job: JobRow, liveness: LivenessCheck) -> bool:
    """Whether a check of the process, or a heartbeat since, may contradict `job`."""
    alive = liveness.is_alive(pid=job.pid, host=job.host, token=job.token, heartbeat=job.heartbeat)
    if job.state is JobState.LOST:
        return alive or not liveness.sees(host=job.host, token=job.token)
    return not alive
