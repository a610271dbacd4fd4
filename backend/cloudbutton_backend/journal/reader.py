"""The journal as everybody else sees it: any process, any thread, at any time."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.errors import JournalError, UnknownName, UsageError
from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal.liveness import LivenessCheck
from cloudbutton_backend.journal.records import ErrorRecord, JobCommand, JobRow, LogRecord
from cloudbutton_backend.storage.home import home as default_home

if TYPE_CHECKING:
    import sqlite3

_UNFINISHED: Final = tuple(state.value for state in JobState if not state.is_final)


class JournalReader:
    """Reads the journal under `home` (default: the user's) and sends commands to its jobs.

    Each call opens the file and closes it again (a fraction of a millisecond), so that a reader may be
    shared by threads, survives forks, and finds a journal that was started over.

    Raises
    ------
    JournalError
        From every method, when the journal is damaged or was written by a newer version.
    """

    def __init__(self, home: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.home: Final = default_home() if home is None else home
        self.path: Final = self.home / "journal.db"
        self._clock = clock

    def __repr__(self) -> str:
        return f"<JournalReader {self.path}>"

    def jobs(
        self,
        limit: int = 50,
        offset: int = 0,
        *,
        state: JobState | str | None = None,
        notebook: str | None = None,
    ) -> list[JobRow]:
        """Return jobs, the latest first; only those in a state or of a notebook if one is given."""
        wanted = None if state is None else _state(state)
        query, values = "SELECT * FROM jobs WHERE 1", list[Any]()
        if wanted is not None:
            # Which of the unfinished ones are lost is not in the table.
            values += _UNFINISHED if wanted in _MAY_BE_LOST else (wanted.value,)
            query += f" AND state IN ({', '.join('?' * len(values))})"
        if notebook is not None:
            query += " AND notebook = ?"
            values.append(notebook)
        query += " ORDER BY created DESC, id"
        if wanted not in _MAY_BE_LOST:
            query += " LIMIT ? OFFSET ?"
            return self._rows(self._all(query, *values, limit, offset))
        found = self._rows(self._all(query, *values))
        return [row for row in found if row.state is wanted][offset : offset + limit]

    def job(self, id_or_prefix: str) -> JobRow:
        """Return the one job whose id begins so.

        Raises
        ------
        UnknownName
            There is none; the error names the nearest ones.
        UsageError
            There are several.
        """
        prefix = id_or_prefix.strip().lower()
        if not prefix:
            raise UsageError("Which job? Name it by its id: `cloudbutton jobs` lists them.")
        found = self._all(
            "SELECT * FROM jobs WHERE substr(id, 1, ?) = ? ORDER BY created DESC",
            len(prefix),
            prefix,
        )
        exact = [row for row in found if row["id"] == prefix]
        if len(exact or found) == 1:
            return self._row((exact or found)[0])
        if not found:
            raise UnknownName("job", id_or_prefix, self._near(prefix))
        shown = ", ".join(f"{row['id']} ({row['name']})" for row in found[:5])
        raise UsageError(
            f"`{prefix}` begins the ids of {len(found)} jobs: {shown}. Type more of it."
        )

    def batches(self, job_id: str) -> list[BatchRecord]:
        """Return a job's batches as they ended."""
        from cloudbutton_backend.journal import rows

        found = self._all("SELECT * FROM batches WHERE job_id = ? ORDER BY rowid", job_id)
        return [rows.batch_row(row) for row in found]

    def errors(self, job_id: str) -> list[ErrorRecord]:
        """Return a job's exceptions (the first hundred that happened), by item."""
        from cloudbutton_backend.journal import rows

        found = self._all("SELECT * FROM errors WHERE job_id = ? ORDER BY item_index", job_id)
        return [rows.error_row(row) for row in found]

    def log(self, job_id: str) -> list[LogRecord]:
        """Return the last of what a job printed, in the order it was printed."""
        from cloudbutton_backend.journal import rows

        found = self._all("SELECT * FROM logs WHERE job_id = ? ORDER BY id", job_id)
        return [rows.log_row(row) for row in found]

    def send(self, job_id: str, verb: str, **args: Any) -> int:
        """Ask a job's process for something; return the command's id for `command`."""
        with self._writable() as connection:
            cursor = connection.execute(
                "INSERT INTO commands (job_id, verb, args, created) VALUES (?, ?, ?, ?)",
                (job_id, verb, json.dumps(args), self._clock()),
            )
            return int(cursor.lastrowid or 0)

    def command(self, command_id: int) -> JobCommand | None:
        """Return a command, to see whether it was taken; None when it was withdrawn."""
        from cloudbutton_backend.journal import rows

        found = self._all("SELECT * FROM commands WHERE id = ?", command_id)
        return rows.command_row(found[0]) if found else None

    def withdraw(self, command_id: int) -> bool:
        """Withdraw a command that has not been taken, so that it does not act much later."""
        with self._writable() as connection:
            cursor = connection.execute(
                "DELETE FROM commands WHERE id = ? AND taken IS NULL", (command_id,)
            )
            return cursor.rowcount == 1

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection | None]:
        """Open the journal for several questions about one moment; None while there is none.

        For the functions of `listing`.
        """
        from cloudbutton_backend.journal import database

        with database.existing(self.path) as connection:
            if connection is not None:
                connection.execute("BEGIN")  # until it is closed
            yield connection

    def _row(self, row: sqlite3.Row) -> JobRow:
        return self._rows([row])[0]

    def _rows(self, found: Iterable[sqlite3.Row]) -> list[JobRow]:
        from cloudbutton_backend.journal import rows

        return rows.job_rows(found, LivenessCheck(self._clock()))

    def _near(self, name: str) -> list[str]:
        ids = [
            row["id"] for row in self._all("SELECT id FROM jobs ORDER BY created DESC LIMIT 1000")
        ]
        return difflib.get_close_matches(name, ids, n=5, cutoff=0.5) or ids[:5]

    def _all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        from cloudbutton_backend.journal import database

        with database.existing(self.path) as connection:
            return connection.execute(query, values).fetchall() if connection else []

    @contextmanager
    def _writable(self) -> Iterator[sqlite3.Connection]:
        from cloudbutton_backend.journal import database

        with database.existing(self.path, writable=True) as connection:
            if connection is None:
                raise JournalError(f"No job has been recorded in {self.home} yet.")
            yield connection


_MAY_BE_LOST: Final = (JobState.RUNNING, JobState.CANCELLING, JobState.LOST)


def _state(name: JobState | str) -> JobState:
    try:
        return JobState(name)
    except ValueError:
        raise UnknownName("state", str(name), [state.value for state in JobState]) from None
