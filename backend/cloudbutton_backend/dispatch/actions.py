"""The actions of the dispatcher. Frozen values; the driver carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from cloudbutton_backend.backends.protocol import Results


@dataclass(frozen=True, slots=True)
class Submit:
    """Send items ``[first, first + count)`` to a worker."""

    worker: str
    batch: int
    job_id: str
    first: int
    count: int
    lease: float | None = None
    """Seconds after which the call has to end."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take back what a worker has not begun, but for the next `keep` items."""

    worker: str
    keep: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop what a worker does for a job."""

    worker: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Record and announce the results of consecutive items, but for those in `skip`."""

    job_id: str
    results: Results
    skip: frozenset[int] = frozenset()
    """Items that have a result already, or will be tried again."""


@dataclass(frozen=True, slots=True)
class FailItem:
    """An item will not be tried again; its worker died or it ran too long."""

    job_id: str
    index: int
    kind: str
    """lost | timeout"""
    cause: str
    attempts: int


@dataclass(frozen=True, slots=True)
class BatchLost:
    """A batch ended with its worker; to be recorded."""

    job_id: str
    batch: int
    worker: str
    first: int
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A job ends because its next call cannot be paid for."""

    job_id: str
    spent: float
    budget: float
    at_least: float
    """What the next call would need."""
    of_day: bool = False
    """Whether it is the budget of the day that is used up, of which `budget` is what the job was given."""


@dataclass(frozen=True, slots=True)
class AskForMoney:
    """A job asks for some of the daily budget; `Scheduler.give` answers."""

    job_id: str
    at_least: float
    """Dollars without which it cannot go on."""
    wanted: float
    """Dollars with which it would not have to ask again soon."""


@dataclass(frozen=True, slots=True)
class Finish:
    """A job has ended by this step of its life cycle: finish, fail or stopped."""

    job_id: str
    step: str


Action = (
    Submit
    | Revoke
    | Interrupt
    | Kill
    | Accept
    | FailItem
    | BatchLost
    | OverBudget
    | AskForMoney
    | Finish
)
