"""Converts between frozen values and rows of the tables."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState, Progress
from cloudbutton_backend.journal.records import ErrorRecord, JobCommand, JobRow, LogRecord

if TYPE_CHECKING:
    from sqlite3 import Row

    from cloudbutton_backend.journal.liveness import LivenessCheck

Columns = dict[str, Any]

_ATTEMPTS: Final = 3
_MISSING: Final = object()

_RECORD_FIELDS = (
    "id", "name", "kind", "backend", "n_items", "created", "pid", "host",
    "notebook", "cell_id", "source", "code_digest", "seed", "options", "capture",
    "estimate", "estimate_low", "estimate_high", "estimate_basis", "estimate_seconds",
    "estimate_seconds_low", "estimate_seconds_high", "worker_memory", "emulated", "on_this_machine",
    "plan",
)  # fmt: skip


#: What a list of jobs shows. The other columns may be long, and are left where they are.
LISTED = (
    "id", "name", "kind", "backend", "emulated", "n_items", "created", "pid", "host", "token",
    "notebook", "cell_id", "options", "state", "done", "failed", "running", "workers", "started", "ended",
    "task_seconds", "waited", "spend", "at_most", "expected_spend", "budget", "error", "warnings",
    "retried", "lost_workers", "heartbeat",
    "estimate", "estimate_low", "estimate_high", "estimate_basis", "estimate_seconds",
    "estimate_seconds_low", "estimate_seconds_high", "committed", "cached", "worker_memory", "changed",
    "errors_changed",
)  # fmt: skip

BATCH_COLUMNS = (
    "job_id", "batch", "attempt", "worker", "first", "count", "start", "end", "status", "failed",
    "cpu", "memory_peak", "cost",
)  # fmt: skip


def job_columns(job: JobRecord, token: str) -> Columns:
    """Return the columns of a job that begins: running, nothing done, alive now."""
    columns = plain({name: getattr(job, name) for name in _RECORD_FIELDS})
    # A 64-bit seed without a sign does not fit in SQLite's integers; as text any does.
    columns["seed"] = str(job.seed)
    return columns | {
        "token": token,
        "state": JobState.RUNNING.value,
        "started": None,
        "ended": None,
        "heartbeat": job.created,
        "budget": job.options.get("budget"),
    }


def progress_columns(progress: Progress) -> Columns:
    """Return the columns that a snapshot of a job changes."""
    return {
        "state": progress.state,
        "n_items": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "running": progress.running,
        "workers": progress.workers,
        "task_seconds": progress.task_seconds,
        "waited": progress.waited,
        "spend": progress.spend,
        "at_most": progress.at_most,
        "expected_spend": progress.expected_spend,
        "committed": progress.committed,
        "cached": progress.cached,
        "retried": progress.retried,
        "lost_workers": progress.lost_workers,
        "error": progress.first_error,
        "warnings": progress.warnings,
    }


def batch_values(batch: BatchRecord) -> tuple[Any, ...]:
    """Return the values of a row of `batches`, in the order of its columns."""
    values: dict[str, Any] = {name: getattr(batch, name) for name in BATCH_COLUMNS}
    return tuple((values | {"worker": text(batch.worker)}).values())


def error_values(error: ErrorRecord) -> tuple[Any, ...]:
    """Return the values of a row of `errors`, in the order of its columns."""
    return (
        error.job_id, error.index, text(error.item), text(error.type_name), text(error.message),
        text(error.traceback),
    )  # fmt: skip


def plain(columns: Mapping[str, Any]) -> Columns:
    """Return `columns` with every value in a form that SQLite keeps."""
    values = {name: _computed(value) for name, value in columns.items()}
    return {name: _plain(value) for name, value in values.items() if value is not _MISSING}


def text(value: str) -> str:
    """Return `value` with what UTF-8 cannot hold escaped; a task may print anything."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def to_json(value: Any) -> str:
    """Return JSON of `value`; what JSON does not know is kept as its repr."""
    return json.dumps(value, default=repr, ensure_ascii=True, skipkeys=True)


def _mapping(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"not a mapping: {text}")
    return value


def _lines(text: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(text)))


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise ValueError(f"no number: {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "seed": int,
    "options": _mapping,
    "capture": _mapping,
    "warnings": _lines,
    "state": JobState,
}
_FIELDS = {each.name: each for each in dataclasses.fields(JobRow)}


def _readers(name: str) -> tuple[Callable[[Any], Any], bool, Any]:
    """Return what reads a column of `jobs`, whether it may be empty, and what stands for it if it is odd."""
    field = _FIELDS[name]
    kind, may_be_empty = str(field.type), "None" in str(field.type)
    is_number = kind.startswith(("int", "float"))
    if field.default is not dataclasses.MISSING:
        instead = field.default
    elif field.default_factory is not dataclasses.MISSING:
        instead = field.default_factory()
    else:
        instead = None if may_be_empty else 0 if is_number else "?"
    read = bool if kind == "bool" else _number if is_number else _text
    return _READ.get(name, read), may_be_empty, instead


_OF_ITS_PROCESS = frozenset({"state", "pid", "host", "token", "heartbeat"})
_COLUMNS = {name: _readers(name) for name in _FIELDS}


def job_row(row: Row, liveness: LivenessCheck) -> JobRow:
    """Return a row of `jobs`, or the `LISTED` part of it, in the state that the job is found to be in.

    Of a damaged row, or one that something else has written, what can be read is kept, lest it hides
    the others.
    """
    values: dict[str, Any] = {}
    odd: list[str] = []
    for name, value in dict(row).items():
        read, may_be_empty, instead = _COLUMNS[name]
        try:
            values[name] = None if value is None and may_be_empty else read(value)
        except (TypeError, ValueError, OverflowError):
            values[name] = instead
            odd.append(name)
    if odd:
        line = f"its record in the journal is damaged: {', '.join(odd)}"
        values["warnings"] = (*values.get("warnings", ()), line)
        if not _OF_ITS_PROCESS.isdisjoint(odd):
            values["state"] = JobState.LOST
    values["state"] = state_of(values, liveness)
    return JobRow(**values)


def job_rows(found: Iterable[Row], liveness: LivenessCheck) -> list[JobRow]:
    """Return rows of `jobs`, each in the state that `liveness` finds it to be in."""
    return [job_row(row, liveness) for row in found]


def state_of(row: Row | Mapping[str, Any], liveness: LivenessCheck) -> JobState:
    """Return the state that a row of `jobs` is in: lost, where its process is gone before its end."""
    try:
        state = JobState(row["state"])
        if state.is_final or liveness.is_alive(
            pid=row["pid"], host=row["host"], token=row["token"], heartbeat=row["heartbeat"]
        ):
            return state
    except (TypeError, ValueError, OverflowError):  # a damaged row
        pass
    return JobState.LOST


def batch_row(row: Row) -> BatchRecord:
    """Return a row of `batches`."""
    return BatchRecord(**dict(row))


def error_row(row: Row) -> ErrorRecord:
    """Return a row of `errors`."""
    values = dict(row)
    return ErrorRecord(index=values.pop("item_index"), **values)


def log_row(row: Row) -> LogRecord:
    """Return a row of `logs`."""
    return LogRecord(row["job_id"], row["text"], item=row["item"], stream=row["stream"])


def command_row(row: Row) -> JobCommand:
    """Return a row of `commands`."""
    return JobCommand(**(dict(row) | {"args": json.loads(row["args"])}))


def _computed(value: Any) -> Any:
    """Return a value, computed now if it was put off, as it takes time and this is the journal's thread.

    That may look at objects that a cell is just changing: the next attempt sees them whole. Where all
    attempts fail, this column stays as it is, and the others are written.
    """
    if not callable(value):
        return value
    for _ in range(_ATTEMPTS):
        with suppress(Exception):
            return value()
    return _MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)  # `range(10**30)` has a length, too
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        return to_json(dict(value))
    return to_json(list(value))
