"""The journal's tables, written by one thread: transactions, heartbeats, commands taken."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import database, rows
from cloudbutton_backend.journal.liveness import start_token
from cloudbutton_backend.journal.records import JobCommand
from cloudbutton_backend.journal.sequence import mark_changed
from cloudbutton_backend.journal.write_batch import (
    MAX_ERRORS,
    MAX_LOG_CHARS,
    Entry,
    WriteBatch,
    fold,
)
from cloudbutton_backend.storage.sqlite import marks, transaction

#: Rows of printed output kept for one job, however short they are.
MAX_LOG_ROWS = 1_000


class JournalTables:
    """Writes what one process has to say. Nothing is opened before the first `write`.

    It remembers the whole row of every job that is not finished. When the file is gone, moved
    aside or broken, the next write begins a new one that has these jobs from the start.
    """

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = home / database.NAME
        self.notice: str | None = None
        """A line for the user about a journal that had to be kept aside."""
        self._home = home
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._kept: database.KeptAside | None = None
        self._inode = 0
        self._live: dict[str, rows.Columns] = {}
        self._known: set[str] = set()
        self._seen_version: int | None = None

    def __repr__(self) -> str:
        condition = "closed" if self._connection is None else "open"
        return f"<Store {self.path} {condition}, {len(self._live)} live jobs>"

    @property
    def has_live_jobs(self) -> bool:
        return bool(self._live)

    @property
    def has_jobs(self) -> bool:
        return bool(self._known)

    def write(self, entries: Iterable[Entry]) -> list[str]:
        """Write `entries` in one transaction and return the ids of the jobs that ended with it.

        After an exception none of them is on disk or remembered; they may be written again.
        """
        changes = fold(entries, self._clock())
        touched = changes.jobs
        connection = self._connect()
        try:
            with transaction(connection):
                changed = self._write_jobs(connection, changes)
                _write_details(connection, changes)
                if touched:
                    mark_changed(connection, touched, errors=changes.cleared.union(changes.errors))
        except BaseException as error:
            self._give_up(error)
            raise
        self._known.update(changed)
        self._live.update(changed)
        ended = [job_id for job_id, row in self._live.items() if _is_final(row)]
        for job_id in ended:
            del self._live[job_id]
        return ended

    def beat(self) -> None:
        """Write a heartbeat for live jobs, into a journal that readers can find."""
        now = self._clock()
        for row in self._live.values():
            row["heartbeat"] = now
        if self._connection is not None and database.inode(self.path) != self._inode:
            self.close()  # the file was removed or replaced: start over
        if self._connection is None:
            self.write(())
            return
        try:
            self._connection.executemany(
                "UPDATE jobs SET heartbeat = ? WHERE id = ?", [(now, key) for key in self._live]
            )
        except BaseException as error:
            self._give_up(error)
            raise

    def take_commands(self) -> list[JobCommand]:
        """Return the commands for this process's jobs, each one once, marked as taken."""
        connection = self._connection
        if connection is None:
            return []
        # Changes only when another connection has committed; costs a few microseconds.
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen_version:
            return []
        waiting = connection.execute("SELECT * FROM commands WHERE taken IS NULL ORDER BY id")
        ours = [row["id"] for row in waiting.fetchall() if row["job_id"] in self._known]
        taken = [row for key in ours if (row := self._take(connection, key)) is not None]
        self._seen_version = version
        return [rows.command_row(row) for row in taken]

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)  # or it was removed, too
            connection, notice = database.open_for_writing(self._home, kept=self._kept)
            self._kept = None
            self.notice = self.notice or notice
            self._inode = database.inode(self.path) or 0
            self._seen_version = None
            try:
                if self._live:
                    self._write_live(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _write_live(self, connection: sqlite3.Connection) -> None:
        """Write the unfinished jobs into a journal that may not have them."""
        with transaction(connection):
            for columns in self._live.values():
                _upsert(connection, columns)
            mark_changed(connection, self._live, errors=self._live)

    def _write_jobs(
        self, connection: sqlite3.Connection, changes: WriteBatch
    ) -> dict[str, rows.Columns]:
        """Write what changed of jobs and return the rows, as they are now, of those to remember."""
        now = self._clock()
        changed = {}
        for job_id, job in changes.added.items():
            row = rows.job_columns(job, start_token(job.pid)) | {"heartbeat": now}
            changed[job_id] = row | rows.plain(changes.updated.pop(job_id, {}))
            _upsert(connection, changed[job_id])
        for job_id, update in changes.updated.items():
            columns = rows.plain(update)
            if job_id in self._live:
                # If its process dies, this tells until when it ran.
                columns["heartbeat"] = now
            assignments = ", ".join(f"{name} = :{name}" for name in columns)
            connection.execute(
                f"UPDATE jobs SET {assignments} WHERE id = :id", columns | {"id": job_id}
            )
            if job_id in self._live:
                changed[job_id] = self._live[job_id] | columns
            elif "state" in columns and not _is_final(columns):  # it had ended, and runs again
                for row in connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)):
                    changed[job_id] = dict(row) | {"heartbeat": now}
        return changed

    def _take(self, connection: sqlite3.Connection, key: int) -> sqlite3.Row | None:
        try:
            with transaction(connection):
                marked = connection.execute(
                    "UPDATE commands SET taken = ? WHERE id = ? AND taken IS NULL",
                    (self._clock(), key),
                )
                row = connection.execute("SELECT * FROM commands WHERE id = ?", (key,)).fetchone()
        except BaseException as error:
            self._give_up(error)
            raise
        # Its sender may have withdrawn it in the meantime.
        return row if marked.rowcount == 1 else None

    def _give_up(self, error: BaseException) -> None:
        """Leave the connection after a failure; a broken file is put out of the way."""
        inode = self._inode
        try:
            self.close()  # rolls back
        finally:
            if database.is_corruption(error):
                what = f"is damaged ({error})"
                self._kept = database.move_aside(self.path, "corrupt", what, found=inode)


def _write_details(connection: sqlite3.Connection, changes: WriteBatch) -> None:
    connection.executemany(
        f"INSERT INTO batches VALUES ({marks(rows.BATCH_COLUMNS)})",
        [rows.batch_values(batch) for batch in changes.batches],
    )
    connection.executemany(
        "DELETE FROM errors WHERE job_id = ?", [(job_id,) for job_id in changes.cleared]
    )
    for job_id, errors in changes.errors.items():
        count = connection.execute("SELECT count(*) FROM errors WHERE job_id = ?", (job_id,))
        room = MAX_ERRORS - count.fetchone()[0]
        connection.executemany(
            "INSERT OR REPLACE INTO errors VALUES (?, ?, ?, ?, ?, ?)",
            [rows.error_values(error) for error in list(errors.values())[: max(room, 0)]],
        )
    bounds = {"rows": MAX_LOG_ROWS, "chars": MAX_LOG_CHARS}
    for job_id, logs in changes.logs.items():
        connection.executemany(
            "INSERT INTO logs (job_id, item, stream, text) VALUES (?, ?, ?, ?)",
            [(job_id, log.item, log.stream, log.text) for log in logs],
        )
        connection.execute(_TRIM_LOGS, {"job": job_id} | bounds)


#: Rows go once newer ones fill either bound; the row that crosses the bound stays.
_TRIM_LOGS = """
    DELETE FROM logs WHERE job_id = :job AND id <= max(
        ifnull((SELECT id FROM logs WHERE job_id = :job ORDER BY id DESC LIMIT 1 OFFSET :rows), 0),
        ifnull((
            SELECT max(id) FROM (
                SELECT id, sum(length(text)) OVER (ORDER BY id DESC) - length(text) AS newer
                FROM logs WHERE job_id = :job
            ) WHERE newer >= :chars
        ), 0)
    )
"""


def _upsert(connection: sqlite3.Connection, columns: rows.Columns) -> None:
    names = ", ".join(columns)
    values = ", ".join(f":{name}" for name in columns)
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    connection.execute(
        f"INSERT INTO jobs ({names}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET {updates}",
        columns,
    )


def _is_final(columns: rows.Columns) -> bool:
    return "state" in columns and JobState(columns["state"]).is_final
