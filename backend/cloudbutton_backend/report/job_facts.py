"""What a report is made of: a job's facts as values, wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cloudbutton_backend.job_model import BatchRecord, Estimate, JobRecord, JobState, Progress
from cloudbutton_backend.job_model.estimate import Expectation
from cloudbutton_backend.journal import ErrorRecord

if TYPE_CHECKING:
    from cloudbutton_backend.capture import CaptureReport


class ReportedJob(Protocol):
    """What a report reads of a job that this process holds."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def record(self) -> JobRecord: ...
    @property
    def progress(self) -> Progress: ...

    def explain(self) -> CaptureReport: ...
    def timeline(self) -> Sequence[BatchRecord]: ...
    def errors(self) -> Mapping[int, BaseException]: ...


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """All that a report tells of a job. Times are Unix seconds, lengths of time seconds, money US dollars."""

    id: str
    name: str
    kind: str
    backend: str
    state: JobState
    created: float
    ended: float | None
    """None while it runs, and of a job that was lost."""
    elapsed: float
    n_items: int | None
    done: int
    failed: int
    cached: int = 0
    """Items whose results were there before it began."""
    workers: int = 0
    worker_memory: int | None = None
    """MiB."""
    retried: int = 0
    lost_workers: int = 0
    task_seconds: float = 0.0
    spend: float = 0.0
    budget: float | None = None
    estimate: Estimate | None = None
    expected_seconds: Expectation | None = None
    """How long it was expected to take."""
    notebook: str | None = None
    source: str | None = None
    plan: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    capture: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    """A line about what failed first, or what stopped it."""
    warnings: Sequence[str] = ()
    batches: Sequence[BatchRecord] = ()
    errors: Sequence[ErrorRecord] = ()
    written: float
    """When the report was made."""
    version: str
    """Of Cloud Button."""
