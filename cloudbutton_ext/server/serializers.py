"""Serializes the journal's values for the panel, with the commands by which a notebook attaches to a job.

Pure: no file, no clock.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.job_model import Estimate, Expectation, JobState
from cloudbutton_backend.job_model.rules import Verb, is_detached, refusal
from cloudbutton_backend.journal.queries import Batches
from cloudbutton_backend.journal.records import ErrorRecord, JobRow, LogRecord
from cloudbutton_ext.server.public_paths import PublicPaths
from cloudbutton_magic.cells.header import MapHeader, parse_header


def job(row: JobRow, *, now: float, paths: PublicPaths, is_gone: bool) -> dict[str, Any]:
    """Return a job as lists show it; `is_gone` says that the process that ran it is not there."""
    notebook, notebook_name = paths.notebook(row.notebook)
    progress = row.progress(now)

    def may(verb: Verb) -> bool:
        return refusal(verb, row, row.state, is_gone=is_gone) is None

    return {
        "id": row.id,
        "name": row.name,
        "kind": row.kind,
        "backend": row.backend,
        "emulated": row.emulated,
        "notebook": notebook,
        "notebook_name": notebook_name,
        "cell_id": row.cell_id,
        "state": row.state.value,
        "total": row.n_items,
        "done": row.done,
        "cached": row.cached,
        "failed": row.failed,
        "running": row.running,
        "workers": row.workers,
        "created": row.created,
        "started": row.started,
        "ended": row.ended,
        "elapsed": progress.elapsed,
        "rate": progress.rate,
        "eta": None if row.state.is_final else progress.eta,
        "task_seconds": row.task_seconds,
        "speed_up": progress.speed_up,
        "spend": row.spend,
        "expected_spend": row.expected_spend,
        "committed": row.committed,
        "estimate": interval(row.expected),
        "estimate_seconds": interval(row.expected_seconds),
        "estimate_basis": row.estimate_basis,
        "budget": row.budget,
        "error": row.error,
        "warnings": [paths.hide_paths(line) for line in row.warnings],
        "retried": row.retried,
        "lost_workers": row.lost_workers,
        "can_cancel": may("cancel") and row.state is not JobState.CANCELLING,
        "can_retry": may("retry"),
        "can_attach": may("attach"),
        "detached": is_detached(row),
    }


def details(row: JobRow) -> dict[str, Any]:
    """Return what one job shows beyond a list."""
    return {
        "source": row.source,
        "plan": row.plan,
        "options": row.options,
        "capture": row.capture,
        "seed": str(row.seed),  # 64 bits: more than a number in JavaScript holds
        "host": row.host,
        "pid": row.pid,
    }


def interval(found: Estimate | Expectation | None) -> dict[str, float] | None:
    """Return what was expected when the job started, None where nothing was."""
    if found is None:
        return None
    return {"expected": found.expected, "low": found.low, "high": found.high}


def batches(found: Batches, after: int) -> str:
    """Return batches as JSON: names once, numbers by column.

    Text and not a dictionary, because the encoder holds the interpreter: column by column, it lets the
    server's other work in between.
    """
    columns: dict[str, Sequence[Any]] = dict(found.columns)
    columns["memory"] = columns.pop("memory_peak")
    workers, columns["worker"] = _indexed(columns["worker"])
    statuses, columns["status"] = _indexed(columns["status"])
    written = ", ".join(f'"{name}": {to_json(column)}' for name, column in columns.items())
    rows = columns["row"]
    rest = {"next": rows[-1] if rows else after, "more": found.more}
    return (
        f'{{"workers": {to_json(workers)}, "statuses": {to_json(statuses)}, "columns": {{{written}}}, '
        f"{to_json(rest)[1:]}"
    )


def _indexed(names: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return the names, each once, and for each place the index of its name."""
    index: dict[str, int] = {}
    paths = [index.setdefault(name, len(index)) for name in names]
    return list(index), paths


def errors(found: Sequence[ErrorRecord], total: int) -> dict[str, Any]:
    """Return exceptions grouped by type and message, the most frequent first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for error in found:
        group = groups.setdefault(
            (error.type_name, error.message),
            {
                "type": error.type_name,
                "message": error.message,
                "count": 0,
                "traceback": error.traceback,
                "items": [],
            },
        )
        group["count"] += 1
        group["items"].append({"index": error.index, "item": error.item})
    ordered = sorted(groups.values(), key=lambda group: -group["count"])
    return {"groups": ordered, "total": max(total, len(found))}


def log(found: Sequence[tuple[int, LogRecord]], after: int) -> dict[str, Any]:
    """Return printed pieces with their numbers."""
    pieces = [
        {"id": number, "item": each.item, "stream": each.stream, "text": each.text}
        for number, each in found
    ]
    return {"pieces": pieces, "next": found[-1][0] if found else after}


def to_json(value: Any) -> str:
    """Return JSON; what JSON does not know, such as NaN, becomes null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(clean(value))


def clean(value: Any) -> Any:
    """Return JSON-able data without what JSON does not know: a NaN becomes None."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): clean(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(each) for each in value]
    return value


_MAGIC: Final = "%%cloud"


def line_for(row: JobRow) -> str | None:
    """Return the line that brings a job's results into a notebook; None where none ever will.

    Parameters
    ----------
    row
        With all its columns.
    """
    if row.kind == "executor":
        return None
    if row.kind in ("button", "run"):  # the cell's own variables come back
        return f"%cloud attach {row.id}"
    return f"%cloud attach {row.id} -> {', '.join(names_for(row))}"


def names_for(row: JobRow) -> tuple[str, ...]:
    """Return the names that a job's results were to have, or one that no notebook has yet."""
    line, _, _ = (row.source or "").partition("\n")
    if line.startswith(_MAGIC):
        with contextlib.suppress(UsageError):  # the syntax of another version
            header = parse_header(line.removeprefix(_MAGIC).lstrip())
            if isinstance(header, MapHeader) and header.results:
                return header.results
    return (f"results_{row.id}",)
