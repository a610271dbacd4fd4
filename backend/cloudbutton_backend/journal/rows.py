"""Converts between frozen values and rows of the tables."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState, Progress
from cloudbutton_backend.journal.records import ErrorRecord, JobCommand, JobRow, LogRecord

if TYPE_CHECKING:
    from sqlite3 import Row

    from cloudbutton_backend.journal.liveness import LivenessCheck

Columns = dict[str, Any]

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
    return {name: _plain(value) for name, value in columns.items()}


def text(value: str) -> str:
    """Return `value` with what UTF-8 cannot hold escaped; a task may print anything."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def to_json(value: Any) -> str:
    """Return JSON of `value`; what JSON does not know is kept as its repr."""
    return json.dumps(value, default=repr, ensure_ascii=True, skipkeys=True)


_READ: dict[str, Callable[[Any], Any]] = {
    "seed": int,
    "emulated": bool,
    "on_this_machine": bool,
    "at_most": bool,
    "options": json.loads,
    "capture": json.loads,
    "warnings": lambda text: tuple(json.loads(text)),
}


def job_row(row: Row, state: JobState) -> JobRow:
    """Return a row of `jobs`, or the `LISTED` part of it, in the state that the reader found it to be in."""
    values = dict(row)
    for name in values.keys() & _READ:
        values[name] = _READ[name](values[name])
    return JobRow(**(values | {"state": state}))


def job_rows(found: Iterable[Row], liveness: LivenessCheck) -> list[JobRow]:
    """Return rows of `jobs`, each in the state that `lookout` finds it to be in."""
    return [job_row(row, state_of(row, liveness)) for row in found]


def state_of(row: Row, liveness: LivenessCheck) -> JobState:
    """Return the state that a row of `jobs` is in: lost, where its process is gone before its end."""
    state = JobState(row["state"])
    if state.is_final or liveness.is_alive(
        pid=row["pid"], host=row["host"], token=row["token"], heartbeat=row["heartbeat"]
    ):
        return state
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


def _plain(value: Any) -> Any:
    if callable(value):
        value = value()  # put off until now, as it takes time and this is the journal's thread
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
