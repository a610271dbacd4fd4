"""The protocol of backends: limits, requests and events. Structural: nothing to inherit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.worker.pool.protocol import NO_BATCH as NO_BATCH
from cloudbutton_backend.worker.pool.protocol import BackendDown as BackendDown
from cloudbutton_backend.worker.pool.protocol import BatchCall as BatchCall
from cloudbutton_backend.worker.pool.protocol import BatchEnded as BatchEnded
from cloudbutton_backend.worker.pool.protocol import Blob as Blob
from cloudbutton_backend.worker.pool.protocol import JobSpec as JobSpec
from cloudbutton_backend.worker.pool.protocol import Overdue as Overdue
from cloudbutton_backend.worker.pool.protocol import PoolEvent as PoolEvent
from cloudbutton_backend.worker.pool.protocol import Results as Results
from cloudbutton_backend.worker.pool.protocol import Revoked as Revoked
from cloudbutton_backend.worker.pool.protocol import WorkerDown as WorkerDown
from cloudbutton_backend.worker.pool.protocol import WorkerUp as WorkerUp


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a backend. Plans stay inside them; nothing probes at run time."""

    workers: int
    """Most workers at one time."""
    slots: int = 1
    """How many of them are one for the user: on a thread of a cluster, the next call waits beside the one
    that runs."""
    batch_seconds: float = 0.02
    """Work worth sending at a time."""
    queue_depth: int = 2
    """Batches that one worker may hold at a time."""
    is_this_machine: bool = False
    """Whether workers are processes of this machine that only this process can reach: items take there
    what they take here, and what workers are told stays here."""
    shares_files: bool = False
    """Whether workers see the files of this machine, under the same paths."""
    can_revoke: bool = False
    """Whether items that were sent but not begun can be taken back."""
    can_duplicate: bool = False
    """Whether a straggler may be run twice at no harm: another machine, work that can be killed."""
    can_limit_memory: bool = False
    memory: int | None = None
    """MiB that a worker has unless a job asks for more, where that is chosen."""
    lane: int | None = None
    """MiB that come with each CPU of a worker, which runs an item of a call on each."""
    lost_attempts: int = 3
    """How often an item may take its worker down before it fails alone."""
    retry_delay: float = 0.0
    """Seconds before the first repetition after an infrastructure failure; doubles, with jitter."""
    first_wave: int | None = None
    """Most workers of a job until its first results are there: where fanning out costs money,
    code that fails at once should do so before it is sent a thousand times."""
    rate: Rate | None = None
    """What a call costs; None where work is free. A backend with a rate reports `Charged`."""
    longest_call: float | None = None
    """Seconds after which the platform ends a call, whatever it is doing."""
    emulated: bool = False
    """Whether it emulates a real backend: its bills are those of the real one, but cost nothing."""
    can_outlive: bool = False
    """Whether the calls of a detached job go on when this process ends."""


@dataclass(frozen=True, slots=True)
class Charged:
    """A call has ended, well or badly, and this is its price. Once for each call, and before the
    `BatchEnded` or `WorkerDown` that ends it; before its last `Results` too, if they come together,
    so that the record of the batch has its price. Where an answer was lost, the most it can have
    cost. A call whose price never comes counts as if it had cost the most that it could.
    """

    job_id: str
    batch: int
    cost: float
    """US dollars."""
    seconds: float
    """Billed."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning for the user of a job. Shown once, however often it comes."""

    job_id: str
    line: str


Event = PoolEvent | Charged | Warned


class Backend(Protocol):
    """A place where calls run.

    All methods but `prepare`, `put` and `wake` are called from the driver's thread. None of those
    blocks but `poll`, which waits for at most the time it is given.
    """

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    def start(self) -> None:
        """Begin bringing workers up; `WorkerUp` tells when each is there."""

    def prepare(self, spec: JobSpec, packages: Callable[[], Set[str]]) -> None:
        """Check that a job can run, and prepare what it needs. Called from the user's thread, before
        the job is recorded anywhere: what prevents it is raised here.

        Parameters
        ----------
        packages
            Returns the import names of the packages that the function and its items need. That takes
            its time, and the function holds items: call it here or never, and do not keep it.

        Raises
        ------
        CloudError
            What prevents the job.
        """

    def put(self, blob: Blob) -> None:
        """Take a large value, once. Called from the user's thread, before the job is opened."""

    def scale(self, workers: int) -> None:
        """Ensure that there are at least this many workers, as far as the limits allow."""

    def open_job(self, spec: JobSpec) -> None: ...

    def submit(self, call: BatchCall) -> None:
        """Send a batch to a worker, which then holds no more of them than `Limits.queue_depth`."""

    def revoke(self, worker: str, keep: int) -> None:
        """Take back the items that `worker` has not begun, but for the next `keep`.

        Answered by `Revoked` for each batch concerned.
        """

    def interrupt(self, worker: str, job_id: str) -> None:
        """Stop what `worker` does for a job, gently and soon by force.

        `BatchEnded` or `WorkerDown` follows for each of its batches.
        """

    def kill(self, worker: str, reason: str) -> None:
        """End a worker now; `WorkerDown` follows. Safe to repeat."""

    def close_job(self, job_id: str) -> None: ...

    def warm(self, modules: Sequence[str]) -> None:
        """Import modules in idle workers, ahead of their use."""

    def poll(self, timeout: float | None) -> Iterable[Event]:
        """Wait for events, for at most `timeout` seconds."""

    def wake(self) -> None:
        """Make `poll` return soon. Safe from any thread."""

    def close(self) -> None:
        """End all workers. Safe to repeat."""
