"""The facts of a job: of one of this process as it is now, of any other as the journal has it."""

from __future__ import annotations

import re
import time
import traceback
from typing import Final

from cloudbutton_backend.job_model import Estimate
from cloudbutton_backend.journal import ErrorRecord, JobRow, JournalReader
from cloudbutton_backend.report.job_facts import JobFacts, ReportedJob
from cloudbutton_backend.worker.failures import message_of

_ERRORS: Final = 100
"""As many as the journal keeps."""


def facts_of_row(reader: JournalReader, row: JobRow, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that the journal knows."""
    now = time.time() if now is None else now
    return JobFacts(
        id=row.id,
        name=row.name,
        kind=row.kind,
        backend=str(row.ran_on),
        state=row.state,
        created=row.created,
        ended=row.ended,
        elapsed=row.elapsed(now),
        n_items=row.n_items,
        done=row.done,
        failed=row.failed,
        cached=row.cached,
        workers=row.workers,
        worker_memory=row.worker_memory,
        retried=row.retried,
        lost_workers=row.lost_workers,
        task_seconds=row.task_seconds,
        spend=row.spend,
        budget=row.budget,
        estimate=_estimate(row),
        expected_seconds=_expected_seconds(row),
        notebook=_last_part(row.notebook),
        source=row.source,
        plan=row.plan,
        seed=row.seed,
        options=row.options,
        capture=row.capture,
        error=row.error,
        warnings=row.warnings,
        batches=reader.batches(row.id),
        errors=reader.errors(row.id),
        written=now,
        version=_version(),
    )


def facts_of_job(job: ReportedJob, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that this process holds, whether or not the disk has them."""
    now = time.time() if now is None else now
    record, progress = job.record, job.progress
    return JobFacts(
        id=job.id,
        name=job.name,
        kind=record.kind,
        backend=str(record.ran_on),
        state=progress.state,
        created=record.created,
        ended=record.created + progress.elapsed if progress.state.is_final else None,
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
        expected_seconds=_expected_seconds(record),
        notebook=_last_part(record.notebook),
        source=record.source,
        plan=record.plan,
        seed=record.seed,
        options=record.options,
        capture=job.explain().to_dict(),
        error=progress.first_error,
        warnings=progress.warnings,
        batches=job.timeline(),
        errors=[
            _error(job.id, index, error)
            for index, error in sorted(job.errors().items())[:_ERRORS]
        ],
        written=now,
        version=_version(),
    )  # fmt: skip


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


def _estimate(row: JobRow) -> Estimate | None:
    if row.estimate is None or row.estimate_low is None or row.estimate_high is None:
        return None
    return Estimate(row.estimate, row.estimate_low, row.estimate_high, row.estimate_basis or "")


def _expected_seconds(record: object) -> tuple[float, float, float] | None:
    names = ("estimate_seconds", "estimate_seconds_low", "estimate_seconds_high")
    expected, low, high = (getattr(record, name, None) for name in names)
    if expected is None or low is None or high is None:
        return None
    return (expected, low, high)


def _last_part(notebook: str | None) -> str | None:
    return None if notebook is None else re.split(r"[/\\]", notebook.rstrip("/\\"))[-1]


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("cloudbutton")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "(development)"
