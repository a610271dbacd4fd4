"""The suite that every backend passes, at the level of `backends.protocol`: commands in, events out.

Inherit and say how to make a backend. Workers must see the files of this machine, by which tasks tell
that they have begun, and are told to go on::

    class TestOurs(ProtocolConformance):
        @classmethod
        def new_backend(cls) -> Backend:
            return OurBackend(workers=2)
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import pytest

from cloudbutton_backend.backends.protocol import (
    Backend,
    BatchCall,
    BatchEnded,
    Event,
    JobSpec,
    Overdue,
    Results,
    Revoked,
    WorkerDown,
    WorkerUp,
)
from cloudbutton_backend.capture import capture, dump_items

PATIENCE: Final = 30.0
E = TypeVar("E")


class ManualDriver:
    """Drives a backend by hand, with tasks that wait for a gate to open."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self.backend = backend
        self.events: list[Event] = []
        self._folder = folder
        self._batches = 0
        backend.start()
        self.worker = self.until(WorkerUp).worker

    def until(self, kind: type[E], wanted: Callable[[E], bool] = lambda event: True) -> E:
        """Return the first event of a kind, waiting for it."""
        deadline = time.monotonic() + PATIENCE
        seen = 0
        while time.monotonic() < deadline:
            for event in self.events[seen:]:
                if isinstance(event, kind) and wanted(event):
                    return event
            seen = len(self.events)
            self.events += self.backend.poll(0.1)
        raise AssertionError(f"no such {kind.__name__} within {PATIENCE:g} s: {self.events}")

    def all(self, kind: type[E]) -> list[E]:
        """Return the events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def ended(self) -> set[int]:
        """Return the batches that have ended: all that were sent if their worker is down."""
        if self.worker in {event.worker for event in self.all(WorkerDown)}:
            return set(range(1, self._batches + 1))
        return {event.batch for event in self.all(BatchEnded)}

    def open(self, job_id: str = "job", timeout: float | None = None, size: int = 0) -> None:
        """Open a job whose tasks note that they have begun and wait for the gate, but not item 0.

        The payload of its function has at least so many bytes.
        """
        begun, gate = str(self._folder / "begun"), str(self._folder / f"gate-{job_id}")
        padding = bytes(size)

        def task(item: int) -> int:
            with open(begun, "a") as file:
                file.write(f"{item}\n")
            while item and not os.path.exists(gate):  # ends: with the gate, or with the backend
                threading.Event().wait(0.002)
            return -item * (len(padding) == size)

        captured = capture(task, threshold=2 * size + (1 << 16))
        spec = JobSpec(
            id=job_id,
            payload=captured.payload,
            blobs=captured.blobs,
            seed=0,
            guard="off",
            timeout=timeout,
            memory=None,
            results=str(self._folder / job_id),
            cwd=os.getcwd(),
            environment=dict(os.environ),
            path=tuple(sys.path),
            displays=False,
        )
        self.backend.prepare(spec, set)
        for blob in captured.blobs:
            self.backend.put(blob)
        self.backend.open_job(spec)

    def submit(
        self, first: int, count: int, job_id: str = "job", lease: float | None = None
    ) -> int:
        """Send a batch to the worker; return its number."""
        self._batches += 1
        parts = dump_items(list(range(first, first + count)))
        call = BatchCall(self._batches, job_id, self.worker, first, count, parts, lease)
        self.backend.submit(call)
        return self._batches

    def open_gate(self, job_id: str = "job") -> None:
        """Release the tasks."""
        (self._folder / f"gate-{job_id}").touch()

    def begun(self) -> list[int]:
        """Return the items that have begun."""
        path = self._folder / "begun"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def await_begun(self, item: int) -> None:
        """Wait until an item has begun."""
        deadline = time.monotonic() + PATIENCE
        while item not in self.begun():
            assert time.monotonic() < deadline, f"item {item} does not begin"
            self.events += self.backend.poll(0.005)


class ProtocolConformance:
    """Promises on which the dispatcher relies."""

    @classmethod
    def new_backend(cls) -> Backend:
        """Return a new backend with at least two workers."""
        raise NotImplementedError("say how to make the backend under test")

    @pytest.fixture
    def hand(self, tmp_path: Path) -> Iterator[ManualDriver]:
        """Return a started backend to drive by hand."""
        backend = self.new_backend()
        try:
            yield ManualDriver(backend, tmp_path)
        finally:
            backend.close()
            backend.close()  # safe to repeat

    def test_every_worker_is_announced_once(self, hand: ManualDriver) -> None:
        n = hand.backend.limits.workers
        hand.until(WorkerUp, lambda _: len(hand.all(WorkerUp)) == n)
        assert len({event.worker for event in hand.all(WorkerUp)}) == n

    def test_a_batch_gives_its_results_in_order_and_then_ends(self, hand: ManualDriver) -> None:
        hand.open()
        hand.open_gate()
        batch = hand.submit(0, 5)
        ended = hand.until(BatchEnded)
        assert (ended.worker, ended.batch, ended.ran) == (hand.worker, batch, 5)
        items = [
            index
            for event in hand.all(Results)
            for index in range(event.first, event.first + event.count)
        ]
        assert items == list(range(5))
        assert isinstance(hand.events[-1], (BatchEnded, WorkerUp))

    def test_what_a_connection_takes_only_in_parts_arrives_without_another_event(
        self, hand: ManualDriver
    ) -> None:
        hand.until(WorkerUp, lambda _: len(hand.all(WorkerUp)) == hand.backend.limits.workers)
        hand.open(size=8 << 20)
        hand.submit(0, 1)
        begin = time.monotonic()
        while not hand.all(Results):
            hand.events += hand.backend.poll(PATIENCE)
        assert time.monotonic() - begin < PATIENCE

    def test_waking_ends_a_wait(self, hand: ManualDriver) -> None:
        hand.until(WorkerUp, lambda _: len(hand.all(WorkerUp)) == hand.backend.limits.workers)
        waker = threading.Timer(0.05, hand.backend.wake)
        waker.start()
        begin = time.monotonic()
        hand.backend.poll(PATIENCE)
        assert time.monotonic() - begin < PATIENCE / 2
        waker.join(PATIENCE)

    def test_a_killed_worker_is_reported_with_what_it_ran_and_is_replaced(
        self, hand: ManualDriver
    ) -> None:
        hand.open()
        batch = hand.submit(1, 3)
        hand.await_begun(1)
        hand.backend.kill(hand.worker, "timeout")
        hand.backend.kill(hand.worker, "timeout")
        down = hand.until(WorkerDown)
        assert (down.worker, down.reason) == (hand.worker, "timeout")
        assert down.batch in (batch, None) and down.item in (1, None)
        before = len(hand.all(WorkerUp))
        n = hand.backend.limits.workers
        hand.until(WorkerUp, lambda _: before > n or len(hand.all(WorkerUp)) == n + 1)

    def test_an_interrupt_ends_the_batch_of_the_job(self, hand: ManualDriver) -> None:
        hand.open()
        batch = hand.submit(1, 3)
        hand.await_begun(1)
        hand.backend.interrupt(hand.worker, "job")
        hand.until(object, lambda _: batch in hand.ended())
        assert hand.begun() == [1]

    def test_an_item_that_takes_too_long_is_reported_once(self, hand: ManualDriver) -> None:
        hand.open(timeout=0.2)
        batch = hand.submit(0, 3)
        overdue = hand.until(Overdue)
        assert (overdue.worker, overdue.batch, overdue.item) == (hand.worker, batch, 1)
        assert len(hand.all(Overdue)) == 1

    def test_commands_to_workers_that_are_gone_are_ignored(self, hand: ManualDriver) -> None:
        hand.open()
        hand.backend.revoke("nobody", 0)
        hand.backend.interrupt("nobody", "job")
        hand.backend.kill("nobody", "killed")
        worker, hand.worker = hand.worker, "nobody"
        hand.submit(0, 1)
        hand.worker = worker
        batch = hand.submit(0, 1)
        assert hand.until(BatchEnded).batch == batch

    def test_closing_ends_tasks_under_way(self, hand: ManualDriver) -> None:
        hand.open()
        hand.submit(1, 3)
        hand.await_begun(1)
        hand.backend.close()
        assert hand.begun() == [1]


class QueueingConformance(ProtocolConformance):
    """Further promises of backends whose workers hold several batches."""

    def test_the_backend_says_that_they_do(self, hand: ManualDriver) -> None:
        assert hand.backend.limits.queue_depth > 1

    def test_batches_run_in_the_order_in_which_they_came(self, hand: ManualDriver) -> None:
        hand.open()
        hand.open_gate()
        first, second = hand.submit(5, 3), hand.submit(0, 3)
        hand.until(BatchEnded, lambda event: event.batch == second)
        assert [event.batch for event in hand.all(BatchEnded)] == [first, second]
        assert hand.begun() == [5, 6, 7, 0, 1, 2]

    def test_an_interrupt_ends_every_batch_of_the_job(self, hand: ManualDriver) -> None:
        hand.open()
        hand.open("other")
        hand.open_gate("other")
        batches = {hand.submit(1, 3), hand.submit(4, 3)}
        other = hand.submit(10, 1, "other")
        hand.await_begun(1)
        hand.backend.interrupt(hand.worker, "job")

        hand.until(object, lambda _: batches | {other} <= hand.ended())
        assert set(hand.begun()) <= {1, 10}


class RevokingConformance(QueueingConformance):
    """Further promises of backends that can revoke items that were not begun."""

    def test_the_backend_says_that_it_can(self, hand: ManualDriver) -> None:
        assert hand.backend.limits.can_revoke

    @pytest.mark.parametrize("keep", [0, 1, 3])
    def test_what_is_taken_back_is_not_run(self, hand: ManualDriver, keep: int) -> None:
        hand.open()
        batch = hand.submit(1, 6)
        hand.await_begun(1)
        hand.backend.revoke(hand.worker, keep)
        revoked = hand.until(Revoked)
        assert (revoked.batch, revoked.first, revoked.stop) == (batch, 2 + keep, 7)
        hand.open_gate()
        hand.until(BatchEnded)
        assert hand.begun() == list(range(1, 2 + keep))
        assert sum(event.count for event in hand.all(Results)) == 1 + keep

    def test_several_batches_are_taken_back_from_the_end(self, hand: ManualDriver) -> None:
        hand.open()
        first, second = hand.submit(1, 3), hand.submit(4, 3)
        hand.await_begun(1)
        hand.backend.revoke(hand.worker, 3)
        revoked = hand.until(Revoked)
        assert (revoked.batch, revoked.first, revoked.stop) == (second, 5, 7)
        hand.open_gate()
        hand.until(BatchEnded, lambda event: event.batch == second)
        assert hand.begun() == [1, 2, 3, 4]
        assert first != second

    @pytest.mark.parametrize("keeps", [(1, 3), (3, 0), (0, 5)])
    def test_what_was_taken_back_stays_so(self, hand: ManualDriver, keeps: tuple[int, int]) -> None:
        hand.open()
        hand.submit(1, 6)
        hand.await_begun(1)
        hand.backend.revoke(hand.worker, keeps[0])
        hand.until(Revoked)
        hand.backend.revoke(hand.worker, keeps[1])
        if min(keeps) < keeps[0]:
            hand.until(Revoked, lambda event: event.first == 2 + min(keeps))
        hand.open_gate()
        hand.until(BatchEnded)
        assert hand.begun() == list(range(1, 2 + min(keeps)))

    def test_a_worker_takes_work_again_after_giving_some_back(self, hand: ManualDriver) -> None:
        hand.open()
        hand.submit(1, 6)
        hand.await_begun(1)
        hand.backend.revoke(hand.worker, 0)
        hand.until(Revoked)
        hand.open_gate()
        hand.until(BatchEnded)
        batch = hand.submit(3, 2)
        hand.until(BatchEnded, lambda event: event.batch == batch)
        assert hand.begun() == [1, 3, 4]
