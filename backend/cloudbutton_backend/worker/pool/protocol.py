"""The requests to a pool of workers, and its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.result_file import FileRecord
from cloudbutton_backend.worker.wire import Buffer


@dataclass(frozen=True)
class Blob:
    """A large captured value, addressed by its content."""

    digest: str
    """xxh3-128, in hex, of the parts and their lengths."""
    nbytes: int
    """What travels, all parts together."""
    parts: tuple[Buffer, ...] = field(repr=False)
    """The pickle stream (protocol 5), then its out-of-band buffers: views of the live value."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """The parts of a job that every worker must have before its first item."""

    id: str
    payload: bytes
    """The captured function."""
    blobs: tuple[Blob, ...]
    seed: int
    guard: str
    timeout: float | None
    memory: int | None
    """MiB that one worker may use."""
    results: str
    """Prefix of the job's result files."""
    cwd: str
    environment: dict[str, str]
    path: tuple[str, ...]
    displays: bool
    """Whether the code may use IPython's `display`."""
    stop_on_error: bool = False
    """Whether the items after a failed one are not wanted."""
    detached: bool = False
    """Whether its calls go on when this process ends, where the backend can do that."""
    has_budget: bool = False
    """Whether no call may cost more than what its lease allows for."""
    results_key: bytes = field(default=b"", repr=False)
    """Seals the records of the result files."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A batch of consecutive items for one worker."""

    batch: int
    job_id: str
    worker: str
    first: int
    count: int
    parts: Sequence[Any]
    """The pickled items and their out-of-band buffers."""
    lease: float | None = None
    """Seconds that the call may run. It then ends as it is: what has run is kept, the rest comes back.
    This is what bounds the price of a call before it is made."""


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker can take work."""

    worker: str


NO_BATCH: Final = 0
"""Stands for no batch: what a worker held goes to others, and costs no attempt."""


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker is gone, and what it held with it."""

    worker: str
    cause: str
    """For the user: exit code or signal, likely reason, memory peak."""
    batch: int | None = None
    """The batch it was running, if that is known; `NO_BATCH` if it was none of those it held."""
    item: int | None = None
    """The item it was running, if that is known."""
    reason: str = "died"
    """died | killed (we ended it to cancel) | timeout | memory | lease (its call's lease ran out)
    | lost (its work got lost between here and there)"""


@dataclass(frozen=True, slots=True)
class Results:
    """Consecutive items of a batch have run."""

    worker: str
    batch: int
    first: int
    count: int
    meta: BatchMeta
    payload: bytes | None
    """The packed values, or None when they are in a result file."""
    path: str | None
    offset: int
    length: int
    crc: int | None = None
    """Of the packed values in the result file."""

    @classmethod
    def of_record(cls, worker: str, record: FileRecord, payload: Buffer) -> Results:
        """Return the results in a sealed record that a worker sent."""
        return cls(
            worker,
            record.batch,
            record.first,
            record.count,
            record.meta,
            bytes(payload),
            None,
            0,
            record.length,
        )


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A worker is through with a batch; items that it did not run were revoked or unreadable."""

    worker: str
    batch: int
    ran: int
    unreadable: bool = False
    expired: bool = False
    """Its call's lease ran out before all items had run. That costs them no attempt."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """Items ``[first, stop)`` of a batch will not be run by the worker that holds it."""

    worker: str
    batch: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """An item has been running for longer than its job's time-out."""

    worker: str
    batch: int
    item: int


@dataclass(frozen=True, slots=True)
class BackendDown:
    """The backend as a whole cannot go on."""

    cause: str


PoolEvent = WorkerUp | WorkerDown | Results | BatchEnded | Revoked | Overdue | BackendDown
