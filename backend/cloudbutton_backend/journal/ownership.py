"""Acquires ownership of a job in one transaction: of two processes that try, one succeeds."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloudbutton_backend.errors import JournalError, UnknownName, UsageError
from cloudbutton_backend.job_model import BackendIdentity, JobState

if TYPE_CHECKING:
    import sqlite3

#: The verb under which the journal records that a process took a job over.
VERB = "attach"


class OwnedElsewhere(UsageError):
    """Another process runs the job."""

    def __init__(self, job_id: str, pid: int, host: str) -> None:
        super().__init__(job_id, pid, host)
        self.job_id, self.pid, self.host = job_id, pid, host

    def __str__(self) -> str:
        return (
            f"Job {self.job_id} is being run by another process (pid {self.pid} on {self.host})."
            f" `%cloud attach {self.job_id}` without options follows it."
        )


def claim(
    home: Path,
    job_id: str,
    *,
    backend: BackendIdentity,
    on_this_machine: bool,
    budget: float | None,
) -> int:
    """Make this process the one that runs a job; return how often it was taken over, this time included.

    Raises
    ------
    OwnedElsewhere
        The process that runs it is alive.
    UnknownName
        It is not in the journal any more.
    """
    from cloudbutton_backend.journal.liveness import start_token

    now, pid, host = time.time(), os.getpid(), socket.gethostname()
    with _changing(home, job_id) as (connection, row):
        if connection is None:
            raise JournalError(f"No job has been recorded in {home} yet.")
        if row is None:
            raise UnknownName("job", job_id, ())
        is_own = row["pid"] == pid and row["token"] == start_token(pid)
        if not is_own and _is_run(row, now):
            raise OwnedElsewhere(job_id, row["pid"], row["host"])
        connection.execute(
            "UPDATE jobs SET pid = ?, host = ?, token = ?, heartbeat = ?, state = ?, ended = NULL,"
            " backend = ?, emulated = ?, on_this_machine = ?, budget = ?, running = 0, was_read = 0"
            " WHERE id = ?",
            (
                pid,
                host,
                start_token(pid),
                now,
                JobState.RUNNING.value,
                *backend,
                on_this_machine,
                budget,
                job_id,
            ),
        )
        connection.execute(
            "INSERT INTO commands (job_id, verb, args, created, taken) VALUES (?, ?, ?, ?, ?)",
            (job_id, VERB, json.dumps({"pid": pid, "host": host}), now, now),
        )
        times = connection.execute(
            "SELECT count(*) FROM commands WHERE job_id = ? AND verb = ?", (job_id, VERB)
        ).fetchone()[0]
    return int(times)


def record_done(home: Path, job_id: str, n_items: int) -> None:
    """Record that a job was done when its process ended: all of its results were found.

    One that a process runs, or that has no row, is left alone.
    """
    with _changing(home, job_id) as (connection, row):
        if connection is not None and row is not None and not _is_run(row, time.time()):
            connection.execute(
                "UPDATE jobs SET state = ?, ended = ifnull(ended, heartbeat), n_items = ?, done = ?,"
                " failed = 0, running = 0, error = NULL WHERE id = ?",
                (JobState.DONE.value, n_items, n_items, job_id),
            )


@contextmanager
def _changing(
    home: Path, job_id: str
) -> Iterator[tuple[sqlite3.Connection, sqlite3.Row | None] | tuple[None, None]]:
    """Read a job's row and change it, in one transaction; nothing where there is no journal yet."""
    from cloudbutton_backend.journal import database
    from cloudbutton_backend.journal.sequence import mark_changed
    from cloudbutton_backend.storage.sqlite import transaction

    path = home / database.NAME
    connection = database.open_for_reading(path)
    if connection is None:
        yield None, None
        return
    with closing(connection), database.translated(path):
        connection.execute("PRAGMA query_only = OFF")
        with transaction(connection):
            yield (
                connection,
                connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone(),
            )
            mark_changed(connection, [job_id])


def _is_run(row: sqlite3.Row, now: float) -> bool:
    """Whether a process that is there runs the job."""
    from cloudbutton_backend.journal.liveness import LivenessCheck

    process = {name: row[name] for name in ("pid", "host", "token", "heartbeat")}
    return not JobState(row["state"]).is_final and LivenessCheck(now).is_alive(**process)


class OwnershipLost(UsageError):
    """A job of this process was continued by another one meanwhile."""

    def __init__(self, job_id: str, pid: int, host: str) -> None:
        super().__init__(job_id, pid, host)
        self.job_id, self.pid, self.host = job_id, pid, host

    def __str__(self) -> str:
        return (
            f"Job {self.job_id} was continued by another process meanwhile (pid {self.pid} on {self.host}):"
            f" `%cloud attach {self.job_id}` has what came of it."
        )


def keep(home: Path, job_id: str) -> None:
    """Mark a job of this process as running again, so that no other one takes it over at the same time.

    Raises
    ------
    OwnershipLost
        Another process has taken it over.
    """
    from cloudbutton_backend.journal.liveness import start_token

    with _changing(home, job_id) as (connection, row):
        if connection is None:
            return  # nothing is recorded, so no other process knows of it
        pid = os.getpid()
        if row is not None and (row["pid"], row["token"]) != (pid, start_token(pid)):
            raise OwnershipLost(job_id, row["pid"], row["host"])
        connection.execute(
            "UPDATE jobs SET state = ?, ended = NULL, heartbeat = ? WHERE id = ?",
            (JobState.RUNNING.value, time.time(), job_id),
        )
