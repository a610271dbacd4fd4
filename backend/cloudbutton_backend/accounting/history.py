"""Predicts the next job from earlier ones of the same code: their bills, times, items and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend.cost.job_estimate import EarlierRun, from_history
from cloudbutton_backend.cost.overhead import CallOverhead, overhead_of
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.job_model import BackendIdentity, Estimate

if TYPE_CHECKING:
    from cloudbutton_backend.journal.queries import CallRow, WorkInterval

_RUNS: Final = 20
"""The latest runs that are looked at: older ones tell of other data, machines and prices."""
_BATCHES: Final = 200
"""Their batches that are looked at."""
_TELLING: Final = 3
"""The least number of calls from which the cost of starts is estimated."""
_WARM_FOR: Final = 300.0
"""Seconds for which environments probably stay; Lambda does not say how long."""


@dataclass(frozen=True, kw_only=True)
class JobHistory:
    """A job that ended well."""

    id: str
    ran_on: BackendIdentity
    is_here: bool
    """Whether it ran on this machine."""
    done: int
    """Items that it ran."""
    spend: float
    seconds: float
    """From its beginning to its end."""
    ended: float
    """Unix time."""
    starts: float
    """Dollars of its spend that went into beginning environments, as far as known."""
    workers: int
    memory: int | None
    """MiB that each worker had, where it is chosen."""
    task_seconds: float


def earlier_jobs(home: Path | None, digest: str) -> list[JobHistory]:
    """Return the latest jobs of the same code that ended well, whatever backend they ran on.

    Raises
    ------
    JournalError
        If the journal cannot be read.
    """
    from cloudbutton_backend.journal import JournalReader, queries

    with JournalReader(home).snapshot() as connection:
        if connection is None:
            return []
        return [
            _earlier(
                row,
                _starts(queries.calls(connection, row["id"], _BATCHES)) if row["spend"] else 0.0,
            )
            for row in queries.done_jobs(connection, digest, _RUNS)
            if row["done"] > row["cached"]
        ]


def _starts(calls: Iterable[CallRow]) -> float:
    """Return what the first calls of a job's workers cost beyond what its other calls did per item."""
    seen: set[str] = set()
    first: list[tuple[int, float]] = []
    others: list[tuple[int, float]] = []
    for call in calls:
        (others if call.worker in seen else first).append((call.items, call.cost))
        seen.add(call.worker)
    if len(others) < _TELLING:
        return 0.0
    each = sum(cost for _, cost in others) / sum(items for items, _ in others)
    return max(0.0, sum(cost - each * items for items, cost in first))


def _earlier(row: Any, starts: float) -> JobHistory:
    return JobHistory(
        id=row["id"],
        ran_on=BackendIdentity(row["backend"], bool(row["emulated"])),
        is_here=bool(row["on_this_machine"] or row["emulated"]),
        done=row["done"] - row["cached"],
        spend=row["spend"],
        seconds=max(0.0, (row["ended"] or row["created"]) - row["created"]),
        ended=row["ended"] or row["created"],
        starts=starts,
        workers=row["workers"],
        memory=row["worker_memory"],
        task_seconds=row["task_seconds"],
    )


def stretches(home: Path | None, jobs: Sequence[JobHistory]) -> list[WorkInterval]:
    """Return what was measured of these jobs' items, of the first job first.

    Raises
    ------
    JournalError
        If the journal cannot be read.
    """
    from cloudbutton_backend.journal import JournalReader, queries

    found: list[WorkInterval] = []
    with JournalReader(home).snapshot() as connection:
        for job in jobs if connection else ():
            assert connection is not None
            found += queries.work_intervals(connection, job.id, _BATCHES - len(found))
    return found


def bill_of(
    jobs: Sequence[JobHistory], backend: BackendIdentity, memory: int | None, items: int, now: float
) -> Estimate | None:
    """Return what `items` cost on a backend by its earlier bills; None if there is none.

    Parameters
    ----------
    memory
        MiB that each worker has: another size has other prices.
    now
        Unix time.
    """
    same = [job for job in jobs if job.ran_on == backend and memory in (None, job.memory)]
    is_warm = any(now - job.ended < _WARM_FOR for job in same)
    runs = [EarlierRun(job.done, job.spend, job.seconds, job.starts) for job in same]
    return from_history(runs, items, is_warm=is_warm)


def overhead(
    home: Path | None, backend: BackendIdentity, rate: Callable[[int | None], Rate]
) -> CallOverhead:
    """Return what calls to a backend were billed beside their items in the latest jobs of any code.

    Parameters
    ----------
    rate
        Returns the usual price of a call to a worker with so much memory (MiB).

    Raises
    ------
    JournalError
        If the journal cannot be read.
    """
    from cloudbutton_backend.journal import JournalReader, queries

    starts: list[float] = []
    warm: list[float] = []
    latest = 0.0
    with JournalReader(home).snapshot() as connection:
        for job in queries.billed_jobs(connection, backend, _RUNS) if connection else ():
            assert connection is not None
            price, seen = rate(job["worker_memory"]), set()
            latest = max(latest, job["ended"] or 0.0)
            for call in queries.calls(connection, job["id"], _BATCHES):
                billed = (call.cost - price.per_call) / price.per_second
                (warm if call.worker in seen else starts).append(max(0.0, billed - call.work))
                seen.add(call.worker)
    return overhead_of(starts, warm, may_be_warm=time.time() - latest < _WARM_FOR)


class HistoryEstimate:
    """Estimates that were shown to the user before the job began: that is what it is compared with."""

    def __init__(self) -> None:
        self._estimates: dict[tuple[Any, ...], Estimate] = {}

    def tell(
        self,
        digest: str,
        backend: BackendIdentity,
        memory: int | None,
        items: int,
        said: Estimate,
    ) -> None:
        """Remember what the user was told that running this code will cost."""
        self._estimates[digest, backend, memory, items] = said
        while len(self._estimates) > _RUNS:
            del self._estimates[next(iter(self._estimates))]

    def forget(self) -> None:
        """Forget all estimates that were shown."""
        self._estimates.clear()

    def said(
        self, digest: str, backend: BackendIdentity, memory: int | None, items: int
    ) -> Estimate | None:
        """Return what was said, None if nothing was."""
        return self._estimates.get((digest, backend, memory, items))


told: Final = HistoryEstimate()
"""In this process."""


def expected_bill(
    home: Path | None, digest: str, backend: BackendIdentity, memory: int | None, items: int
) -> Estimate | None:
    """Return what a job is expected to cost when it starts: what was said, or its earlier bills."""
    said = told.said(digest, backend, memory, items)
    if said is not None:
        return said
    try:
        return bill_of(earlier_jobs(home, digest), backend, memory, items, time.time())
    except JournalError:
        return None  # the job matters more than its estimate
