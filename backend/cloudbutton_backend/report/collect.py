"""The facts of a job: of one of this process as it is now, of any other as the journal has it."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudbutton_backend.job_model import BatchRecord, JobRecord, Progress
from cloudbutton_backend.journal import ErrorRecord, JobRow, JournalReader
from cloudbutton_backend.report.job_facts import JobFacts, ReportedJob
from cloudbutton_backend.worker.failures import message_of

_ERRORS: Final = 100
"""As many as the journal keeps."""


def facts_of_row(reader: JournalReader, row: JobRow, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that the journal knows."""
    now = time.time() if now is None else now
    return _facts(
        row,
        row.progress(now),
        ended=row.ended,
        capture=row.capture,
        batches=reader.batches(row.id),
        errors=reader.errors(row.id),
        now=now,
    )


def facts_of_job(job: ReportedJob, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that this process holds, whether or not the disk has them."""
    record, progress = job.record, job.progress
    return _facts(
        record,
        progress,
        ended=record.created + progress.elapsed if progress.state.is_final else None,
        capture=job.explain().to_dict(),
        batches=job.timeline(),
        errors=[
            _error(job.id, index, error)
            for index, error in sorted(job.errors().items())[:_ERRORS]
        ],
        now=time.time() if now is None else now,
    )  # fmt: skip


def _facts(
    record: JobRecord,
    progress: Progress,
    *,
    ended: float | None,
    capture: Mapping[str, Any],
    batches: Sequence[BatchRecord],
    errors: Sequence[ErrorRecord],
    now: float,
) -> JobFacts:
    return JobFacts(
        id=record.id,
        name=record.name,
        kind=record.kind,
        backend=str(record.ran_on),
        state=progress.state,
        created=record.created,
        ended=ended,
        elapsed=progress.elapsed,
        n_items=progress.total,
        done=progress.done,
        failed=progress.failed,
        cached=progress.cached,
        workers=progress.workers,
        worker_memory=record.worker_memory,
        retried=progress.retried,
        lost_workers=progress.lost_workers,
        task_seconds=progress.task_seconds,
        spend=progress.spend,
        budget=progress.budget,
        estimate=progress.estimate,
        expected_seconds=record.expected_seconds,
        notebook=_last_part(record.notebook),
        source=record.source,
        plan=record.plan,
        seed=record.seed,
        options=record.options,
        capture=capture,
        error=progress.first_error,
        warnings=progress.warnings,
        batches=batches,
        errors=errors,
        written=now,
        version=_version(),
    )


def _error(job_id: str, index: int, error: BaseException) -> ErrorRecord:
    # As the journal has it: without the message, so that those that failed alike have the same.
    text = "".join(traceback.format_tb(error.__traceback__))
    return ErrorRecord(
        job_id,
        getattr(error, "cloud_index", index),
        getattr(error, "cloud_item", ""),
        type(error).__name__,
        message_of(error),
        text,
    )


def _last_part(notebook: str | None) -> str | None:
    return None if notebook is None else re.split(r"[/\\]", notebook.rstrip("/\\"))[-1]


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("cloudbutton")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "(development)"
