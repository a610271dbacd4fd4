"""The frozen values that the journal adds to those of `jobs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cloudbutton_backend.job_model import JobRecord, JobState, Progress


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """One item's exception, as text that any reader can show."""

    job_id: str
    index: int
    item: str
    """The item's repr, bounded by the writer of the record."""
    type_name: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A piece of a job's printed output."""

    job_id: str
    text: str
    item: int | None = None
    stream: Literal["stdout", "stderr"] = "stdout"


class ProgressUpdate(NamedTuple):
    """New values for some columns of a job."""

    job_id: str
    columns: dict[str, Any]


class LatestValues(NamedTuple):
    """The progress of a job when this is written, which is later than when it was recorded."""

    job_id: str
    take: Callable[[], Progress]


class ClearErrors(NamedTuple):
    """The errors of a job are void: its failed items are tried again."""

    job_id: str


@dataclass(frozen=True, slots=True)
class JobCommand:
    """A command to a job, sent from a terminal, the panel or another notebook."""

    id: int
    job_id: str
    verb: str
    args: Mapping[str, Any]
    created: float
    """Unix time, seconds."""
    taken: float | None = None
    """When the job's process took it; None until then."""


@dataclass(frozen=True, kw_only=True)
class JobRow(JobRecord):
    """A job as a reader finds it: what was asked, and how far it is."""

    state: JobState
    """LOST where the journal says running but the process is gone."""
    done: int = 0
    failed: int = 0
    running: int = 0
    workers: int = 0
    started: float | None = None
    ended: float | None = None
    task_seconds: float = 0.0
    waited: float = 0.0
    """How long items have waited for a CPU."""
    spend: float = 0.0
    at_most: bool = False
    """Whether calls of unknown price are in it, for the most they can have cost."""
    expected_spend: float | None = None
    committed: float = 0.0
    """The most that its calls in flight can still cost."""
    cached: int = 0
    """Items whose results were there before it began."""
    budget: float | None = None
    """What it may cost at most."""
    error: str | None = None
    """One line about the first failed item, or about what stopped the job."""
    warnings: tuple[str, ...] = field(default=())
    retried: int = 0
    lost_workers: int = 0
    heartbeat: float = 0.0
    """Unix time of the last sign of life of its process."""
    token: str = ""
    """The process's `start_token`."""
    was_read: bool = False
    """Whether its results were read after it had ended."""
    changed: int = 0
    """The number of the change that made it what it is; a later one has a higher number."""
    errors_changed: int = 0
    """The number of the latest change of its errors."""

    def progress(self, now: float) -> Progress:
        """Return how far it is, as the snapshot that views draw."""
        return Progress(
            job_id=self.id,
            name=self.name,
            backend=self.backend,
            emulated=self.emulated,
            state=self.state,
            total=self.n_items,
            done=self.done,
            failed=self.failed,
            running=self.running,
            workers=self.workers,
            elapsed=self.elapsed(now),
            task_seconds=self.task_seconds,
            waited=self.waited,
            spend=self.spend,
            at_most=self.at_most,
            expected_spend=self.expected_spend,
            committed=self.committed,
            budget=self.budget,
            estimate=self.expected,
            cached=self.cached,
            continues=self.options.get("continues") is not None,
            retried=self.retried,
            lost_workers=self.lost_workers,
            first_error=self.error,
            warnings=self.warnings,
        )

    def elapsed(self, now: float) -> float:
        """Return the seconds it has run; for a lost job, up to the last sign of life."""
        end = self.ended
        if end is None:
            end = self.heartbeat if self.state is JobState.LOST else now
        return max(0.0, end - (self.started or self.created))
