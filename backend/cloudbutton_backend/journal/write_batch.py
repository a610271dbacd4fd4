"""Folds what has happened since the last transaction into as few statements as possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState, Progress
from cloudbutton_backend.journal import rows
from cloudbutton_backend.journal.records import (
    ClearErrors,
    ErrorRecord,
    LatestValues,
    LogRecord,
    ProgressUpdate,
)

#: Errors kept for one job: a person reads a few, and counts come from the job's row.
MAX_ERRORS = 100
#: Characters of printed output kept for one job, the latest ones.
MAX_LOG_CHARS = 64 * 1024


Entry = (
    JobRecord
    | ProgressUpdate
    | Progress
    | LatestValues
    | BatchRecord
    | ErrorRecord
    | ClearErrors
    | LogRecord
)


@dataclass
class WriteBatch:
    """One transaction's worth; dicts are keyed by job id."""

    added: dict[str, JobRecord] = field(default_factory=dict)
    updated: dict[str, rows.Columns] = field(default_factory=dict)
    batches: list[BatchRecord] = field(default_factory=list)
    cleared: set[str] = field(default_factory=set)
    errors: dict[str, dict[int, ErrorRecord]] = field(default_factory=dict)
    logs: dict[str, list[LogRecord]] = field(default_factory=dict)

    @property
    def jobs(self) -> set[str]:
        """The ids of all jobs about which there is something new."""
        details = (self.cleared, self.errors, self.logs, (each.job_id for each in self.batches))
        return {*self.added, *self.updated}.union(*details)


def fold(entries: Iterable[Entry], now: float) -> WriteBatch:
    """Return the net effect of `entries`, which are in the order in which they happened.

    A final state without the time it was reached gets `now`; any other state clears that time.
    """
    changes = WriteBatch()
    for entry in entries:
        match entry:
            case BatchRecord():
                changes.batches.append(entry)
            case Progress():
                _update(changes, entry.job_id, rows.progress_columns(entry), now)
            case LatestValues():
                _update(changes, entry.job_id, rows.progress_columns(entry.take()), now)
            case ProgressUpdate():
                _update(changes, entry.job_id, entry.columns, now)
            case LogRecord():
                changes.logs.setdefault(entry.job_id, []).append(entry)
            case ErrorRecord():
                kept = changes.errors.setdefault(entry.job_id, {})
                if len(kept) < MAX_ERRORS or entry.index in kept:
                    kept[entry.index] = entry
            case ClearErrors():
                changes.cleared.add(entry.job_id)
                changes.errors.pop(entry.job_id, None)
            case JobRecord():
                changes.added[entry.id] = entry
                changes.updated.pop(entry.id, None)
    changes.logs = {job_id: tail(lines) for job_id, lines in changes.logs.items()}
    return changes


def tail(logs: list[LogRecord]) -> list[LogRecord]:
    """Return the last `MAX_LOG_CHARS` of `logs`, neighbours from one item and stream joined."""
    kept: list[LogRecord] = []  # latest first
    room = MAX_LOG_CHARS
    pieces: list[str] = []
    for log in reversed(logs):
        if room <= 0:
            break
        piece = rows.text(log.text)[-room:]
        room -= len(piece)
        if kept and (kept[-1].item, kept[-1].stream) == (log.item, log.stream):
            pieces.append(piece)
            continue
        _close(kept, pieces)
        kept.append(log)
        pieces = [piece]
    _close(kept, pieces)
    return kept[::-1]


def _close(kept: list[LogRecord], pieces: list[str]) -> None:
    if kept:
        last = kept[-1]
        kept[-1] = LogRecord(last.job_id, "".join(reversed(pieces)), last.item, last.stream)


def _update(changes: WriteBatch, job_id: str, columns: rows.Columns, now: float) -> None:
    kept = changes.updated.setdefault(job_id, {})
    if "state" in columns and "ended" not in columns:
        kept["ended"] = now if JobState(columns["state"]).is_final else None
    kept.update(columns)


def shrink(entries: Iterable[Entry], keep: int, now: float) -> list[Entry]:
    """Return `entries` with all they say of jobs, and of the details the latest `keep` of a kind.

    For a disk that stays full: what waits for it must not fill the memory instead.
    """
    changes = fold(entries, now)
    errors = [error for of_job in changes.errors.values() for error in of_job.values()]
    logs = [log for of_job in changes.logs.values() for log in of_job]
    return [
        *changes.added.values(),
        *(ProgressUpdate(job_id, columns) for job_id, columns in changes.updated.items()),
        *changes.batches[-keep:],
        *(ClearErrors(job_id) for job_id in changes.cleared),
        *errors[-keep:],
        *logs[-keep:],
    ]
