"""Between the frozen values and the rows of the tables."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudbutton_backend.jobs import BatchRecord, JobRecord, JobState, Progress
from cloudbutton_backend.journal.records import Command, ErrorRecord, JobRow, LogRecord

if TYPE_CHECKING:
    from sqlite3 import Row

Columns = dict[str, Any]

_RECORD_FIELDS = (
    "id", "name", "kind", "backend", "n_items", "created", "pid", "host",
    "notebook", "cell_id", "source", "code_digest", "seed", "options", "capture",
    "estimate", "estimate_low", "estimate_high", "plan",
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
        "spend": progress.spend,
        "expected_spend": progress.expected_spend,
        "retried": progress.retried,
        "lost_workers": progress.lost_workers,
        "error": progress.first_error,
        "warnings": progress.warnings,
    }


def batch_values(batch: BatchRecord) -> tuple[Any, ...]:
    """Return the values of a row of `batches`, in the order of its columns."""
    return (
        batch.job_id, batch.batch, batch.attempt, text(batch.worker), batch.first, batch.count,
        batch.start, batch.end, batch.status, batch.failed, batch.cpu, batch.memory_peak,
        batch.cost,
    )  # fmt: skip


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


def job_row(row: Row, state: JobState) -> JobRow:
    """Return a row of `jobs`, in the state that the reader found it to be in."""
    values = dict(row)
    values["seed"] = int(values["seed"])
    values["options"] = json.loads(values["options"])
    values["capture"] = json.loads(values["capture"])
    values["warnings"] = tuple(json.loads(values["warnings"]))
    return JobRow(**(values | {"state": state}))


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


def command_row(row: Row) -> Command:
    """Return a row of `commands`."""
    return Command(**(dict(row) | {"args": json.loads(row["args"])}))


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
