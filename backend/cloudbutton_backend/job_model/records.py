"""A job's life cycle as a table, and the frozen records that travel."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from cloudbutton_backend.job_model.estimate import Estimate, Expectation


class JobState(str, enum.Enum):
    """The states in a job's life cycle."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    """Every item has a result."""
    FAILED = "failed"
    """It ended, and at least one item has an error instead of a result."""
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its kernel died; never written by the kernel itself, concluded by readers."""

    @property
    def is_final(self) -> bool:
        return self not in (JobState.RUNNING, JobState.CANCELLING)


#: A job's life. A missing pair is a bug, never a default. A retry of failed items reopens a job.
LIFE_CYCLE: Final[Mapping[tuple[JobState, str], JobState]] = {
    (JobState.RUNNING, "finish"): JobState.DONE,
    (JobState.RUNNING, "fail"): JobState.FAILED,
    (JobState.RUNNING, "cancel"): JobState.CANCELLING,
    (JobState.CANCELLING, "cancel"): JobState.CANCELLING,
    (JobState.CANCELLING, "stopped"): JobState.CANCELLED,
    (JobState.CANCELLING, "fail"): JobState.FAILED,
    (JobState.CANCELLED, "retry"): JobState.RUNNING,
    (JobState.FAILED, "retry"): JobState.RUNNING,
    (JobState.LOST, "retry"): JobState.RUNNING,
}


class BackendIdentity(NamedTuple):
    """The backend of a job, and whether it is emulated."""

    name: str
    emulated: bool = False
    """Whether its jobs cost nothing."""

    def __str__(self) -> str:
        return f"{self.name} (emulated)" if self.emulated else self.name


def new_job_id() -> str:
    """Return a short id that a person can type: 8 lower-case letters and digits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "".join(letters[byte % len(letters)] for byte in os.urandom(8))


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options of one job."""

    backend: str = "local"
    workers: int | None = None
    """At most this many workers; None means as many as the backend deems right."""
    memory: int | None = None
    """MiB per worker, where the backend lets one choose or limit it."""
    timeout: float | None = None
    """Seconds one item may run."""
    retries: int = 0
    """How many more times an item whose own code raised is tried."""
    errors: Literal["raise", "keep"] = "raise"
    """Stop at the first failed item, or run all the others and keep the errors."""
    budget: float | None = None
    """US dollars this job may cost at most."""
    backup: bool = True
    """Duplicate stragglers on idle workers where the backend allows it."""
    guard: Literal["off", "warn"] = "warn"
    """What to do when a task changed a captured value: nothing, or say so."""
    seed: int | None = None
    """Root of `rng()` inside the tasks; None draws one and records it."""
    threshold_bytes: int = 64 * 1024
    """A captured value of more bytes is sent once and shared."""
    cache: bool = False
    """Take results of earlier runs of the same code on the same items, and keep those of this one."""
    continues: str | None = None
    """The job from whose cell it takes over what is done; `%cloud attach` of a cell says so."""
    name: str | None = None
    quiet: bool = False
    detach: bool = False
    """Not waited for here: where the backend can, what has been sent goes on when this process ends."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """The journal's record of a job from the start."""

    id: str
    name: str
    kind: Literal["map", "run", "submit", "executor", "button", "map_reduce"]
    backend: str
    n_items: int | None
    """None while the length of the iterable is not known."""
    created: float
    """Unix time, seconds."""
    pid: int
    host: str
    notebook: str | None = None
    cell_id: str | None = None
    source: str | None = None
    """The cell or the function, as the user wrote it."""
    code_digest: str | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    capture: Mapping[str, Any] = field(default_factory=dict)
    """The capture report's `to_dict()`."""
    estimate: float | None = None
    """What it was expected to cost when it started, US dollars."""
    estimate_low: float | None = None
    estimate_high: float | None = None
    estimate_basis: str | None = None
    """What the estimate rests on, in words."""
    estimate_seconds: float | None = None
    """The expected duration when it started."""
    estimate_seconds_low: float | None = None
    estimate_seconds_high: float | None = None
    worker_memory: int | None = None
    """MiB that a worker had, where that is chosen."""
    emulated: bool = False
    """Whether the backend was emulated, so that its jobs cost nothing."""
    on_this_machine: bool = False
    """Whether its workers were processes of `host`."""
    plan: str | None = None
    """What a cell with its loops sent away was turned into, as a dry run shows it."""

    @property
    def ran_on(self) -> BackendIdentity:
        return BackendIdentity(self.backend, self.emulated)

    @property
    def expected(self) -> Estimate | None:
        """The expected cost and duration when it started."""
        if self.estimate is None:
            return None
        low, high = (
            self.estimate if bound is None else bound
            for bound in (self.estimate_low, self.estimate_high)
        )
        return Estimate(self.estimate, low, high, self.estimate_basis or "", self.expected_seconds)

    @property
    def expected_seconds(self) -> Expectation | None:
        """The expected duration when it started."""
        expected, low, high = (
            self.estimate_seconds, self.estimate_seconds_low, self.estimate_seconds_high
        )  # fmt: skip
        if expected is None or low is None or high is None:
            return None
        return Expectation(expected, low, high)


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """Consecutive items that one worker ran together."""

    job_id: str
    batch: int
    worker: str
    first: int
    count: int
    start: float
    """Unix time, seconds, when the worker began."""
    end: float
    status: Literal["done", "error", "lost", "timeout", "cancelled"]
    failed: int = 0
    attempt: int = 1
    cpu: float = 0.0
    """CPU seconds."""
    memory_peak: int = 0
    """Bytes; the worker's resident peak up to the end of this batch, 0 if unknown."""
    cost: float = 0.0
    """US dollars."""
