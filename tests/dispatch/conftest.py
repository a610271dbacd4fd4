"""A stage on which the dispatcher alone plays: events by hand, a clock by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.backends.protocol import (
    BatchEnded,
    Event,
    Limits,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.dispatch.actions import Action, Submit
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.dispatch.scheduler import Scheduler
from cloudbutton_backend.worker.batch_meta import BatchMeta


class Stage:
    """Every method returns the actions that follow."""

    def __init__(self, workers: int = 2, **limits: Any) -> None:
        self.machine = Scheduler(Limits(workers=workers, **limits))
        self.now = 0.0
        self.up(*(f"w{n}" for n in range(1, workers + 1)))

    def happen(self, *events: Event) -> list[Action]:
        self.machine.handle(events, self.now)
        return self.machine.drain()

    def open(self, n_items: int | None, job_id: str = "job", **plan: Any) -> list[Action]:
        self.machine.open(DispatchPlan(job_id=job_id, n_items=n_items, **plan), self.now)
        return self.machine.drain()

    def supply(self, ready: int, ended: bool = False, job_id: str = "job") -> list[Action]:
        self.machine.supply(job_id, ready, ended, self.now)
        return self.machine.drain()

    def cancel(self, job_id: str = "job") -> list[Action]:
        self.machine.cancel(job_id, self.now)
        return self.machine.drain()

    def retry(self, job_id: str = "job") -> list[Action]:
        self.machine.retry(job_id, self.now)
        return self.machine.drain()

    def wait(self, seconds: float) -> list[Action]:
        self.now += seconds
        self.machine.tick(self.now)
        return self.machine.drain()

    def up(self, *workers: str) -> list[Action]:
        return self.happen(*map(WorkerUp, workers))

    def down(self, sent: Submit, item: int | None = None, reason: str = "died") -> list[Action]:
        return self.happen(WorkerDown(sent.worker, "gone", sent.batch, item, reason))

    def some(
        self, sent: Submit, first: int, count: int, errors: Any = None, seconds: float = 0.0
    ) -> list[Action]:
        """Some items of a batch have run."""
        return self.happen(result(sent, first, count, errors, seconds))

    def all(self, sent: Submit, errors: Any = None, seconds: float = 0.0) -> list[Action]:
        """All items of a batch have run, and it has ended."""
        return self.happen(
            result(sent, sent.first, sent.count, errors, seconds),
            BatchEnded(sent.worker, sent.batch, sent.count),
        )

    def ended(self, sent: Submit, ran: int = 0, unreadable: bool = False) -> list[Action]:
        return self.happen(BatchEnded(sent.worker, sent.batch, ran, unreadable))

    def revoked(self, sent: Submit, first: int) -> list[Action]:
        return self.happen(Revoked(sent.worker, sent.batch, first, sent.first + sent.count))


def result(
    sent: Submit, first: int, count: int, errors: Any = None, seconds: float = 0.0
) -> Results:
    meta = BatchMeta(seconds=seconds * count)
    if errors:
        meta.errors = {
            index - first: {"kind": kind}
            for index, kind in (
                errors.items()
                if isinstance(errors, dict)
                else dict.fromkeys(errors, "exception").items()
            )
        }
    return Results(sent.worker, sent.batch, first, count, meta, None, None, 0, 0)


@pytest.fixture
def stage() -> Callable[..., Stage]:
    return Stage
