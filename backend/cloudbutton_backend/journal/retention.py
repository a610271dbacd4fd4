"""Keeps the journal small: the oldest finished jobs are removed first, unfinished ones never."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal.liveness import LivenessCheck
from cloudbutton_backend.journal.schema import OF_A_JOB

if TYPE_CHECKING:
    import sqlite3

#: A job's files begin with its id: `results/<id>.seg`, `results/<id>.local-1-4242.seg`, `jobs/<id>.items`.
_FOLDERS: Final = {
    "results": re.compile(r"([a-z0-9]+)[^a-z0-9].*seg"),
    "jobs": re.compile(r"([a-z0-9]+)\.[a-z]+"),
}
#: A job that begins has files before it has a row; files without a row are orphans after this many seconds.
GRACE: Final = 900.0
#: About what rows take on the disk, bytes.
_ROW_BYTES: Final = {"batches": 120, "errors": 1_000, "logs": 200}
_JOB_BYTES: Final = 4_000
_LOOKED_AT: Final = "id, state, created, ended, pid, host, token, heartbeat, was_read"
#: Jobs removed in one transaction: other processes' writers wait meanwhile.
_AT_ONCE: Final = 100
_PAGES_AT_ONCE: Final = 500
#: Seconds for which it is known what a day's jobs were allowed to spend.
_ALLOWANCES_FOR: Final = 3 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class StoredJobSize:
    """The disk usage of one job. A job of which only files are left has no row."""

    job_id: str
    created: float
    """When it was last of use: it ended, was lost, or its results were used again."""
    size: int
    """Of its files, bytes."""
    files: tuple[Path, ...]
    state: JobState | None
    rows: int = 0
    """About what the journal has of it, bytes."""
    heartbeat: float = 0.0
    blobs: frozenset[str] = frozenset()
    """Captured values that it needs to be continued, and others may need, too."""
    is_held: bool = False
    """Whether its process lives, so that its results may still be wanted there."""
    was_read: bool = True
    """Whether its results were read after it had ended."""


@dataclass(frozen=True, kw_only=True)
class Freed:
    """The jobs and files that were, or with `dry_run` would be, removed."""

    jobs: tuple[str, ...]
    files: int
    size: int
    kept: int
    """Bytes that remain of jobs' files, and of what they share."""


@dataclass(frozen=True, kw_only=True)
class SharedFiles:
    """The captured values that jobs need to be continued."""

    named: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By job."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of those on the disk, bytes."""


def gc(
    home: Path,
    max_bytes: int,
    max_age: float,
    *,
    shared: SharedFiles = SharedFiles(),
    dry_run: bool = False,
    now: float | None = None,
) -> Freed:
    """Remove finished jobs older than `max_age` seconds, then the oldest until `max_bytes` suffice.

    A job that runs, or whose process lives, is never touched, whatever its age and size; one that was lost,
    or whose results nobody has read, and files that no job claims, may be wanted back and go only by age.
    The `shared` values stay where they are.
    """
    now = time.time() if now is None else now
    path = home / "journal.db"
    stored = _stored(path, shared, now)
    doomed = choose(stored, max_bytes=max_bytes, max_age=max_age, now=now, sizes=shared.sizes)
    if not dry_run:
        doomed = _forget(path, doomed, now)
        for job in doomed:
            for file in job.files:
                file.unlink(missing_ok=True)
    size = sum(job.size for job in doomed)
    return Freed(
        jobs=tuple(job.job_id for job in doomed),
        files=sum(len(job.files) for job in doomed),
        size=size,
        kept=sum(job.size for job in stored) - size,
    )


def choose(
    stored: Iterable[StoredJobSize],
    *,
    max_bytes: int,
    max_age: float,
    now: float,
    sizes: Mapping[str, int] | None = None,
) -> list[StoredJobSize]:
    """Return what has to go, the oldest first."""
    jobs = list(stored)
    finished = [
        job for job in jobs if job.state is None or (job.state.is_final and not job.is_held)
    ]
    doomed = {job.job_id: job for job in finished if _is_too_old(job, max_age, now)}
    users = Counter(blob for job in jobs if job.job_id not in doomed for blob in job.blobs)
    blob_sizes = sizes or {}
    total = sum(blob_sizes.get(blob, 0) for blob in users)
    total += sum(job.size + job.rows for job in jobs if job.job_id not in doomed)
    for job in sorted(finished, key=lambda job: (job.created, job.job_id)):
        if total <= max_bytes:
            break
        if job.job_id in doomed or job.state in (None, JobState.LOST) or not job.was_read:
            continue
        own = [blob for blob in job.blobs if users[blob] == 1]
        gain = job.size + job.rows + sum(blob_sizes.get(blob, 0) for blob in own)
        if gain:
            users.subtract(job.blobs)
            total -= gain
            doomed[job.job_id] = job
    return sorted(doomed.values(), key=lambda job: (job.created, job.job_id))


def _is_too_old(job: StoredJobSize, max_age: float, now: float) -> bool:
    return now - job.created > (max_age if job.state is not None else max(max_age, GRACE))


def _stored(path: Path, shared: SharedFiles, now: float) -> list[StoredJobSize]:
    files: dict[str, list[tuple[Path, int, float]]] = {}
    for job_id, file in _files(path.parent):
        with suppress(FileNotFoundError):  # a job that is done removes some of its files itself
            found = file.stat()
            files.setdefault(job_id, []).append((file, found.st_size, found.st_mtime))
    stored = []
    for job in _rows(path, now):
        own = files.pop(job.job_id, [])
        stored.append(
            replace(
                job,
                created=max([job.created, *(at for _, _, at in own if at <= now)]),
                size=sum(size for _, size, _ in own),
                files=tuple(path for path, _, _ in own),
                blobs=shared.named.get(job.job_id, frozenset()),
            )
        )
    for job_id, orphans in files.items():
        stored.append(
            StoredJobSize(
                job_id=job_id,
                created=max(at for _, _, at in orphans),
                size=sum(size for _, size, _ in orphans),
                files=tuple(path for path, _, _ in orphans),
                state=None,
                blobs=shared.named.get(job_id, frozenset()),
            )
        )
    return stored


def _files(home: Path) -> Iterator[tuple[str, Path]]:
    for folder, pattern in _FOLDERS.items():
        path = home / folder
        for each in path.iterdir() if path.is_dir() else ():
            match = pattern.fullmatch(each.name)
            if match and each.is_file():
                yield match[1], each


def _rows(path: Path, now: float) -> Iterator[StoredJobSize]:
    """Yield what the journal knows of each job, without its files."""
    from cloudbutton_backend.journal import database, rows

    liveness = LivenessCheck(now)
    taken: Counter[str] = Counter()
    with database.existing(path) as connection:
        if connection is None:
            return
        for table, each in _ROW_BYTES.items():  # answered by indexes alone
            counts = connection.execute(f"SELECT job_id, count(*) FROM {table} GROUP BY job_id")
            for job_id, count in counts:
                taken[job_id] += each * count
        for row in connection.execute(f"SELECT {_LOOKED_AT} FROM jobs").fetchall():
            state = rows.state_of(row, liveness)
            process = {name: row[name] for name in ("pid", "host", "token", "heartbeat")}
            last = row["heartbeat"] if state is JobState.LOST else row["created"]
            yield StoredJobSize(
                job_id=row["id"],
                created=row["ended"] or last,
                size=0,
                files=(),
                state=state,
                rows=_JOB_BYTES + taken[row["id"]],
                heartbeat=row["heartbeat"],
                is_held=state.is_final and liveness.is_alive(**process),
                was_read=bool(row["was_read"]),
            )


def _forget(path: Path, doomed: Sequence[StoredJobSize], now: float) -> list[StoredJobSize]:
    """Remove rows before files: a crash in between leaves files, which age removes, no false rows.

    Returns the jobs that are gone; one that runs again since we looked is spared.
    """
    from cloudbutton_backend.journal import database
    from cloudbutton_backend.journal.sequence import mark_removed
    from cloudbutton_backend.storage import sqlite

    gone: list[StoredJobSize] = []
    with database.existing(path, writable=True) as connection:
        if connection is None:
            return list(doomed)
        for start in range(0, len(doomed), _AT_ONCE):
            with sqlite.transaction(connection):
                removed = [
                    job for job in doomed[start : start + _AT_ONCE] if _is_removed(connection, job)
                ]
                ids = [job.job_id for job in removed]
                for table in OF_A_JOB:
                    connection.execute(
                        f"DELETE FROM {table} WHERE job_id IN ({sqlite.marks(ids)})", ids
                    )
                if removed:
                    mark_removed(connection, ids)
            gone += removed
        connection.execute("DELETE FROM allowances WHERE granted < ?", (now - _ALLOWANCES_FOR,))
        if gone:
            _give_back(connection)
            connection.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchall()  # as far as no reader is in the way
    return gone


def _give_back(connection: sqlite3.Connection) -> None:
    """Make the file smaller by the pages that are free, some at a time as others may want to write."""
    pages = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    for _ in range(-(-pages // _PAGES_AT_ONCE)):
        # `execute` would take one step of it, which frees one page.
        connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")


def _is_removed(connection: sqlite3.Connection, job: StoredJobSize) -> bool:
    """Remove a job's row, unless it runs again; what has no row is gone."""
    row = connection.execute(
        "SELECT state, heartbeat FROM jobs WHERE id = ?", (job.job_id,)
    ).fetchone()
    if row is None:
        return True
    if job.state is None:
        return False  # it was about to begin when we looked
    # A lost job is stored as running; if it has sent a heartbeat since, another process attached to it.
    is_lost = job.state is JobState.LOST and row["heartbeat"] == job.heartbeat
    if not JobState(row["state"]).is_final and not is_lost:
        return False
    connection.execute("DELETE FROM jobs WHERE id = ?", (job.job_id,))
    return True
