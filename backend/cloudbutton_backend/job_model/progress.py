"""The progress of a job: a snapshot that any view can draw."""

from __future__ import annotations

from dataclasses import dataclass

from cloudbutton_backend.job_model.estimate import Estimate
from cloudbutton_backend.job_model.records import BackendIdentity, JobState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A job at one moment. Times are seconds, money is US dollars."""

    job_id: str
    name: str
    backend: str
    emulated: bool = False
    """Whether the backend is emulated, so that its jobs cost nothing."""
    state: JobState
    total: int | None
    """None while the iterable's length is unknown."""
    done: int
    """Items with a result."""
    failed: int
    """Items that ended with an error."""
    running: int
    """Items with a worker right now."""
    workers: int
    """Workers in use."""
    elapsed: float
    task_seconds: float
    """Sum of the time items took in the workers: what a serial run would have taken."""
    waited: float = 0.0
    """Sum of the time that items waited for a CPU, which is no part of `task_seconds`."""
    spend: float = 0.0
    """Billed so far; 0 where work is free."""
    at_most: bool = False
    """Whether calls are among it whose price was never heard of, for the most they can have cost."""
    expected_spend: float | None = None
    """The expected total cost, as far as is known."""
    committed: float = 0.0
    """The most that calls in flight can still cost."""
    budget: float | None = None
    estimate: Estimate | None = None
    """What it was expected to cost when it began."""
    cached: int = 0
    """Items whose results were there before it began."""
    continues: bool = False
    """Whether they come from a cell's run that was interrupted, and not from the cache."""
    retried: int = 0
    lost_workers: int = 0
    last_lines: tuple[str, ...] = ()
    """The latest printed lines."""
    first_error: str | None = None
    """One line about the first failed item."""
    warnings: tuple[str, ...] = ()
    """One line each, for the user, once."""

    @property
    def runs_on(self) -> BackendIdentity:
        return BackendIdentity(self.backend, self.emulated)

    @property
    def finished(self) -> int:
        return self.done + self.failed

    @property
    def eta(self) -> float | None:
        """Seconds left: the remaining items at their mean duration so far, shared by the workers.

        None while too little is known, and for a job that is being cancelled.
        """
        if self.state.is_final:
            return 0.0
        ran = self.finished - self.cached
        if self.state is not JobState.RUNNING or self.total is None:
            return None
        if ran <= 0 or not self.workers or self.task_seconds <= 0:
            return None
        return max(0, self.total - self.finished) * (self.task_seconds / ran) / self.workers

    @property
    def rate(self) -> float | None:
        """Items per second over the job's life, None before the first item."""
        return self.finished / self.elapsed if self.finished and self.elapsed > 0 else None

    @property
    def speed_up(self) -> float | None:
        """Serial time over wall time, or None when too little is known."""
        if self.elapsed <= 0 or self.task_seconds <= 0:
            return None
        return self.task_seconds / self.elapsed
