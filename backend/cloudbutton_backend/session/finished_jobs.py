"""Jobs that no process runs: their results can be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from cloudbutton_backend.capture import CaptureReport
from cloudbutton_backend.durable.salvage import SalvagedResults
from cloudbutton_backend.errors import CloudError, JobFailed, UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job.run_state import RunContext, RunState
from cloudbutton_backend.job_model import BatchRecord, Estimate, JobOptions, JobState
from cloudbutton_backend.job_model.rules import refusal
from cloudbutton_backend.journal import JobRow


@dataclass(frozen=True)
class FinishedNotes:
    """The journal's notes on a job."""

    batches: Sequence[BatchRecord]
    lost_workers: int
    last_lines: Sequence[str]
    warnings: Sequence[str]
    first_error: str | None


@dataclass(frozen=True)
class FinishedMoney:
    """The cost of a job by the journal."""

    spend: float
    estimate: Estimate | None
    at_most: bool
    """Whether it may have been less."""

    def expected(self, total: int | None, done: int) -> float | None:
        """Return what it will have cost: what it has."""
        return self.spend


@dataclass(frozen=True)
class FinishedCount:
    """The number of a job's items."""

    n_items: int | None


@dataclass(frozen=True)
class NoRunner:
    """Runs a job that is not run any more."""

    why_not: CloudError
    """Why nothing of it can be run again."""
    ends_with_us: bool = False
    backend: None = None

    def cancel(self) -> None:
        """Nothing is to be stopped."""

    def retry(self, budget: float | None) -> None:
        """Refuse."""
        raise self.why_not

    def forget(self) -> None:
        """Nothing is kept."""


def past_job(
    row: JobRow,
    batches: Sequence[BatchRecord],
    found: SalvagedResults,
    error: JobFailed | None,
    more_warnings: Sequence[str] = (),
) -> Job:
    """Return the job of a row as something to read: what has results, and why there is no more of it."""
    notes = FinishedNotes(
        batches, row.lost_workers, (), (*row.warnings, *more_warnings), None if error else row.error
    )
    run_state = RunState(
        RunContext(
            record=row,
            options=options_of(row),
            notes=notes,
            money=money_of(row),
            check_alive=lambda: None,
        )
    )
    run_state.items = FinishedCount(row.n_items)
    run_state.prefill(found.runs)
    run_state.broken = error
    run_state.workers, run_state.retried = row.workers, row.retried
    run_state.task_seconds, run_state.waited = row.task_seconds, row.waited
    run_state.end(JobState.DONE if error is None else JobState.FAILED)
    run_state.ended = time.monotonic()
    run_state.started = run_state.ended - seconds_of(row)
    why_not = error or UsageError(refusal("retry", row, JobState.DONE))
    return Job(run_state, NoRunner(why_not), lambda: report_of(row))


def seconds_of(row: JobRow) -> float:
    """Return for how long a job has run so far."""
    begun = row.created if row.started is None else row.started
    last = row.heartbeat if row.ended is None else row.ended
    return max(0.0, last - begun)


def options_of(row: JobRow) -> JobOptions:
    """Return a job's options as the journal has them."""
    known = {each.name for each in fields(JobOptions)}
    return JobOptions(**{name: value for name, value in row.options.items() if name in known})


def money_of(row: JobRow) -> FinishedMoney | None:
    """Return what the journal says of a job's cost; None where work is free."""
    if row.estimate is None and not row.spend:
        return None
    return FinishedMoney(row.spend, row.expected, row.at_most)


def report_of(row: JobRow) -> CaptureReport:
    """Return what the journal knows of a capture report."""
    kept = row.capture
    return CaptureReport(
        function=str(kept.get("function", row.name)),
        values=(),
        payload_nbytes=int(kept.get("payload_nbytes", 0)),
        blobs_nbytes=int(kept.get("blobs_nbytes", 0)),
        packages=tuple(kept.get("packages", ())),
        user_modules=tuple(kept.get("user_modules", ())),
    )
