"""A job's facts as values: of one of this process as it is now, of any other as the journal has it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from cloudbutton_backend.job_model import BatchRecord, JobRecord, Progress
from cloudbutton_backend.journal import ErrorRecord, JobRow, JournalReader
from cloudbutton_backend.worker.failures import message_of

if TYPE_CHECKING:
    from cloudbutton_backend.capture import CaptureReport

_ERRORS: Final = 100
"""As many as the journal keeps."""


class ReportedJob(Protocol):
    """The part of a job in this process that a report reads."""

    @property
    def id(self) -> str: ...
    @property
    def record(self) -> JobRecord: ...
    @property
    def progress(self) -> Progress: ...

    def explain(self) -> CaptureReport: ...
    def timeline(self) -> Sequence[BatchRecord]: ...
    def errors(self) -> Mapping[int, BaseException]: ...


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """All that a report tells of a job."""

    record: JobRecord
    progress: Progress
    capture: Mapping[str, Any]
    batches: Sequence[BatchRecord] = ()
    errors: Sequence[ErrorRecord] = ()
    written: float
    """When the report was made, Unix time."""
    version: str
    """Of Cloud Button."""


def facts_of_row(reader: JournalReader, row: JobRow, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that the journal knows."""
    now = time.time() if now is None else now
    return JobFacts(
        record=row,
        progress=row.progress(now),
        capture=row.capture,
        batches=reader.batches(row.id),
        errors=reader.errors(row.id),
        written=now,
        version=_version(),
    )


def facts_of_job(job: ReportedJob, *, now: float | None = None) -> JobFacts:
    """Return the facts of a job that this process holds, whether or not the disk has them."""
    failed = sorted(job.errors().items())[:_ERRORS]
    return JobFacts(
        record=job.record,
        progress=job.progress,
        capture=job.explain().to_dict(),
        batches=job.timeline(),
        errors=[_error(job.id, index, error) for index, error in failed],
        written=time.time() if now is None else now,
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


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("cloudbutton")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "(development)"
