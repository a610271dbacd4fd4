"""Keeping the journal small: the oldest finished jobs go first, unfinished ones never."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudbutton_backend.jobs import JobState
from cloudbutton_backend.journal.reader import JournalReader
from cloudbutton_backend.journal.records import JobRow
from cloudbutton_backend.journal.schema import OF_A_JOB

if TYPE_CHECKING:
    import sqlite3

#: Result files are called after their job: the id, then whatever the segments' writer adds.
_FILE_NAME = re.compile(r"([a-z0-9]+)[^a-z0-9].*|([a-z0-9]+)")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One job's results on the disk. A job of which only files are left has no row."""

    job_id: str
    created: float
    size: int
    files: tuple[Path, ...]
    state: JobState | None


@dataclass(frozen=True, kw_only=True)
class Freed:
    """What was, or with `dry_run` would be, removed."""

    jobs: tuple[str, ...]
    files: int
    size: int
    kept: int
    """Bytes of results that remain."""


def gc(
    home: Path,
    max_bytes: int,
    max_age: float,
    *,
    dry_run: bool = False,
    now: float | None = None,
) -> Freed:
    """Remove finished jobs older than `max_age` seconds, then the oldest until `max_bytes` suffice.

    A job that runs is never touched, whatever its age and size; one that was lost, and files that no job
    claims, may be wanted back and go only by age.
    """
    now = time.time() if now is None else now
    reader = JournalReader(home, clock=lambda: now)
    stored = _stored(home, reader.jobs(limit=-1))
    doomed = choose(stored, max_bytes=max_bytes, max_age=max_age, now=now)
    if not dry_run and doomed:
        doomed = _forget(reader.path, doomed)
        for job in doomed:
            for path in job.files:
                path.unlink(missing_ok=True)
    size = sum(job.size for job in doomed)
    return Freed(
        jobs=tuple(job.job_id for job in doomed),
        files=sum(len(job.files) for job in doomed),
        size=size,
        kept=sum(job.size for job in stored) - size,
    )


def choose(stored: Iterable[Stored], *, max_bytes: int, max_age: float, now: float) -> list[Stored]:
    """Return what has to go, the oldest first."""
    by_age = sorted(stored, key=lambda job: (job.created, job.job_id))
    total = sum(job.size for job in by_age)
    doomed = []
    for job in by_age:
        if job.state is not None and not job.state.is_final:
            continue
        is_old = now - job.created > max_age
        is_too_much = total > max_bytes and job.size > 0
        if is_old or (is_too_much and job.state not in (None, JobState.LOST)):
            doomed.append(job)
            total -= job.size
    return doomed


def _stored(home: Path, jobs: Sequence[JobRow]) -> list[Stored]:
    files: dict[str, list[Path]] = {}
    results = home / "results"
    for path in results.iterdir() if results.is_dir() else ():
        match = _FILE_NAME.fullmatch(path.name)
        if match and path.is_file():
            files.setdefault(match[1] or match[2], []).append(path)
    sizes = {path: path.stat().st_size for of_job in files.values() for path in of_job}
    stored = []
    for job in jobs:
        paths = tuple(files.pop(job.id, ()))
        since = job.ended or (job.heartbeat if job.state is JobState.LOST else job.created)
        stored.append(
            Stored(job_id=job.id, created=since, size=sum(sizes[path] for path in paths),
                   files=paths, state=job.state)
        )  # fmt: skip
    for job_id, orphans in files.items():
        newest = max(path.stat().st_mtime for path in orphans)
        stored.append(
            Stored(job_id=job_id, created=newest, size=sum(sizes[path] for path in orphans),
                   files=tuple(orphans), state=None)
        )  # fmt: skip
    return stored


def _forget(path: Path, doomed: Sequence[Stored]) -> list[Stored]:
    """Remove rows before files: a crash in between leaves files, which age removes, no false rows.

    Returns the jobs that are gone; one that runs again since we looked is spared.
    """
    from cloudbutton_backend.journal import database
    from cloudbutton_backend.journal.numbering import mark_removed

    connection = database.open_for_reading(path)
    if connection is None:
        return list(doomed)
    gone = []
    with closing(connection), database.translated(path):
        connection.execute("PRAGMA query_only = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for job in doomed:
            if _delete(connection, job):
                gone.append(job)
        mark_removed(connection, [job.job_id for job in gone])
        connection.execute("COMMIT")
        connection.execute("PRAGMA incremental_vacuum").fetchall()
    return gone


def _delete(connection: sqlite3.Connection, job: Stored) -> bool:
    row = connection.execute(
        "SELECT state, heartbeat FROM jobs WHERE id = ?", (job.job_id,)
    ).fetchone()
    if row is not None:
        # A lost job is stored as running; if its heart has beaten since, somebody attached to it.
        is_lost = job.state is JobState.LOST and row["heartbeat"] == job.created
        if not JobState(row["state"]).is_final and not is_lost:
            return False
        connection.execute("DELETE FROM jobs WHERE id = ?", (job.job_id,))
    for table in OF_A_JOB:
        connection.execute(f"DELETE FROM {table} WHERE job_id = ?", (job.job_id,))
    return True
