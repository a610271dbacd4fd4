"""`Job`: every public member, in each state of a job."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import JobCancelled, TaskTimeout, UsageError
from cloudbutton_backend.job_model import JobState
from tests.ext.conftest import Gate


def odd_ones_fail(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


def held(gate: Gate, free: int = 0) -> Callable[[int], int]:
    """Return a task whose items from `free` on wait for the gate."""

    def task(x: int) -> int:
        gate.note(str(x))
        if x >= free:
            gate.wait()
        return x

    return task


def started(gate: Gate, free: int = 0, n: int = 6, **options: Any) -> cloud.Job:
    """Return a job of which `free` items have ended and one at least is waiting for the gate."""
    job = cloud.map(held(gate, free), range(n), **options)
    gate.await_marks(free + 1)
    new_results = job.new_results()
    for _ in range(free):
        next(new_results)
    return job


def ended_as(state: JobState, gate: Gate) -> cloud.Job:
    """Return a job that has come to this end."""
    if state is JobState.CANCELLED:
        job = started(gate, free=2)
        job.cancel()
    else:
        job = cloud.map(odd_ones_fail if state is JobState.FAILED else abs, range(6))
    assert job.wait(10)
    return job


FINAL = [JobState.DONE, JobState.FAILED, JobState.CANCELLED]


def test_a_job_says_what_it_is_and_how_it_stands(gate: Gate) -> None:
    job = started(gate, free=2, name="fits")
    assert re.fullmatch(f"<Job {job.id} 'fits': running, 2 of 6 done>", repr(job))
    assert (job.name, job.state, job.n_items) == ("fits", JobState.RUNNING, 6)
    gate.open()
    job.results()
    assert repr(job) == f"<Job {job.id} 'fits': done, 6 of 6 done>"
    failed = cloud.map(odd_ones_fail, range(6), errors="keep")
    failed.wait()
    assert repr(failed).endswith("'odd_ones_fail': failed, 3 of 6 done, 3 failed>")


def test_results_can_be_had_twice_and_are_the_callers_own() -> None:
    job = cloud.map(lambda x: [x], range(3))
    first, second = job.results(), job.results()
    first[0].append("changed")
    assert second == [[0], [1], [2]] == job.results()


def test_results_come_as_they_finish_each_once(gate: Gate) -> None:
    def task(x: int) -> int:
        if x == 0:
            gate.wait()
        return x * x

    arrived = []
    for index, value in cloud.map(task, range(200)).as_completed():
        arrived.append((index, value))
        if len(arrived) == 199:
            gate.open()
    assert arrived[-1] == (0, 0)
    assert sorted(arrived) == [(x, x * x) for x in range(200)]


def test_results_can_be_gone_through_by_two_at_once() -> None:
    job = cloud.map(abs, range(50))
    pairs = zip(job.as_completed(), job.as_completed())
    assert all(one == other for one, other in pairs)


def test_failures_come_after_the_results_or_in_their_place() -> None:
    raised = cloud.map(odd_ones_fail, [0, 2, 4, 1])
    seen = []
    with pytest.raises(ValueError, match="1 is odd"):
        for pair in raised.as_completed():
            seen.append(pair)
    assert sorted(seen) == [(0, 0), (1, 2), (2, 4)]
    kept = dict(cloud.map(odd_ones_fail, range(4), errors="keep").as_completed())
    assert kept[0] == 0 and str(kept[1]) == "1 is odd" and len(kept) == 4


def test_what_has_finished_can_be_seen_while_the_rest_runs(gate: Gate) -> None:
    job = started(gate, free=3)
    assert job.partial() == {0: 0, 1: 1, 2: 2} and job.errors() == {}
    gate.open()
    job.results()
    assert job.partial() == {i: i for i in range(6)}


def test_errors_are_told_by_item_with_their_type() -> None:
    job = cloud.map(odd_ones_fail, range(6), errors="keep")
    results = job.results()
    assert [type(r).__name__ for r in results] == ["int", "ValueError"] * 3
    assert {i: str(e) for i, e in job.errors().items()} == {i: f"{i} is odd" for i in (1, 3, 5)}
    assert job.partial() == {0: 0, 2: 2, 4: 4}


def test_the_error_says_which_item_how_many_alike_and_what_is_kept() -> None:
    job = cloud.map(odd_ones_fail, [0, 2, 7, 4])
    with pytest.raises(ValueError, match="7 is odd") as caught:
        job.results()
    if hasattr(caught.value, "__notes__"):
        assert caught.value.__notes__[0].startswith("item 2 (7); ")
        assert "`job.partial()`" in caught.value.__notes__[0]
    with pytest.raises(ValueError):
        job.results()


def test_a_wait_is_bounded_and_says_whether_it_ended(gate: Gate) -> None:
    job = started(gate)
    assert job.wait(0) is False and job.wait(0.01) is False
    gate.open()
    assert job.wait() is True and job.wait(0) is True


def test_progress_counts_what_is_done_failed_and_running(gate: Gate) -> None:
    job = started(gate, free=2)
    progress = job.progress
    assert (progress.total, progress.done, progress.failed, progress.backend) == (6, 2, 0, "local")
    assert progress.running >= 1 and progress.workers >= 1 and progress.elapsed > 0
    gate.open()
    job.results()
    progress = job.progress
    assert (progress.done, progress.running, progress.eta, progress.state) == (
        6, 0, 0.0, JobState.DONE,
    )  # fmt: skip
    assert progress.finished == 6 and progress.task_seconds > 0 and progress == job.progress


def test_the_timeline_covers_every_item_once() -> None:
    job = cloud.map(abs, range(300))
    job.results()
    covered = sorted(i for b in job.timeline() for i in range(b.first, b.first + b.count))
    assert covered == list(range(300))
    assert all(b.end >= b.start > 0 and b.status == "done" for b in job.timeline())


async def test_a_job_can_be_awaited_and_leaves_the_loop_free(gate: Gate) -> None:
    job = cloud.map(held(gate), range(4))

    async def opens() -> str:
        gate.open()
        return "the loop was free"

    assert await asyncio.gather(job, opens()) == [[0, 1, 2, 3], "the loop was free"]
    assert await job == [0, 1, 2, 3]  # when it has ended
    with pytest.raises(ValueError, match="1 is odd"):
        await cloud.map(odd_ones_fail, [1])


async def test_cancelling_the_task_that_awaits_cancels_the_job(gate: Gate) -> None:
    job = started(gate)

    async def waits() -> list[Any]:
        return await job

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)  # let it begin to wait
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.wait(5) and job.state is JobState.CANCELLED


def test_a_closed_event_loop_or_a_bad_callback_harms_nobody(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    job = started(gate)
    called = threading.Event()

    def bad(_job: cloud.Job) -> None:
        raise RuntimeError("a bug in a callback")

    job.add_done_callback(bad)
    job.add_done_callback(lambda _job: called.set())

    async def gives_up() -> None:
        waiting = asyncio.ensure_future(job._wait_async())
        await asyncio.sleep(0)
        del waiting

    asyncio.run(gives_up())
    gate.open()
    assert called.wait(5)
    assert "a bug in a callback" in caplog.text
    assert cloud.map(abs, [-1]).results() == [1]


@pytest.mark.parametrize("state", FINAL)
def test_cancelling_what_has_ended_changes_nothing(state: JobState, gate: Gate) -> None:
    job = ended_as(state, gate)
    partial = job.partial()
    job.cancel()
    job.cancel()
    assert cloud.map(abs, [1]).results() == [1]  # whatever the driver was told, it has done by now
    assert job.state is state and job.partial() == partial


def test_a_cancelled_job_says_so_and_keeps_what_had_finished(gate: Gate) -> None:
    job = started(gate, free=2)
    job.cancel()
    job.cancel()
    with pytest.raises(JobCancelled, match="after 2 of 6 items"):
        job.results()
    with pytest.raises(JobCancelled):
        list(job.as_completed())
    assert job.partial() == {0: 0, 1: 1}


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_what_failed_or_never_ran_can_be_run_again(state: JobState, gate: Gate) -> None:
    job = ended_as(state, gate)
    before = job.progress
    gate.open()
    again = job.retry_failed()
    assert again is job and job.wait(10)
    assert job.progress.elapsed > before.elapsed, "it is compared with the work of both times"
    if state is JobState.CANCELLED:
        assert job.results() == list(range(6))
    else:
        assert sorted(job.errors())[:1] == [1] and job.state is JobState.FAILED


def test_there_is_nothing_to_retry_while_it_runs_or_when_all_is_done(gate: Gate) -> None:
    job = started(gate)
    with pytest.raises(UsageError, match="still running"):
        job.retry_failed()
    gate.open()
    job.results()
    with pytest.raises(UsageError, match="no failed items"):
        job.retry_failed()


def test_a_job_that_has_all_its_results_lets_go_of_its_items() -> None:
    import gc
    import weakref

    class Item:
        pass

    items = [Item() for _ in range(3)]
    watched = weakref.ref(items[0])
    job = cloud.map(lambda item: 1, items)
    assert job.results() == [1, 1, 1]
    del items
    gc.collect()
    assert watched() is None and job.n_items == 3


def test_retries_give_each_item_so_many_more_attempts(gate: Gate) -> None:
    def task(x: int) -> int:
        attempt = sum(name.startswith(f"{x}-") for name in gate.marks())
        gate.note(f"{x}-{attempt}")
        if attempt < x:
            raise ConnectionError(f"attempt {attempt} of {x}")
        return x

    results = cloud.map(task, range(5), retries=2, errors="keep").results()
    assert results[:3] == [0, 1, 2]
    assert [str(e) for e in results[3:]] == ["attempt 2 of 3", "attempt 2 of 4"]


def test_an_item_over_its_time_fails_alone_and_says_its_limit(gate: Gate) -> None:
    def task(x: int) -> int:
        if x == 1:
            gate.wait()
        return x

    # Time enough for an item that does nothing, on however busy a machine.
    results = cloud.map(task, range(3), timeout=1.5, errors="keep").results()
    assert isinstance(results[1], TaskTimeout)
    assert "1.5 s" in str(results[1]) and "`timeout=` (in a cell `--timeout`)" in str(results[1])
    assert [results[0], results[2]] == [0, 2]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_never_more_workers_than_asked_for_run_at_once(workers: int, gate: Gate) -> None:
    import os
    import time

    def task(x: int) -> tuple[float, float, int]:
        start = time.monotonic()
        time.sleep(0.01)
        return start, time.monotonic(), os.getpid()

    spans = cloud.map(task, range(12), workers=workers).results()
    moments = [start for start, _, _ in spans]
    most = max(sum(a <= moment < b for a, b, _ in spans) for moment in moments)
    assert most <= workers


def test_more_workers_than_cpus_are_had_for_the_asking(gate: Gate) -> None:
    job = cloud.map(held(gate), range(4), workers=4)
    assert gate.await_marks(4) == {"0", "1", "2", "3"}  # all four at once
    gate.open()
    assert job.results() == [0, 1, 2, 3] and job.progress.workers == 4


def test_submit_runs_one_call() -> None:
    job = cloud.submit(lambda *args, **kwargs: (args, kwargs), 1, 2, options=3)
    assert job.results() == [((1, 2), {"options": 3})] and job.n_items == 1
    with pytest.raises(ZeroDivisionError):
        cloud.submit(lambda: 1 // 0).results()


def test_map_reduce_reduces_all_results_in_one_task() -> None:
    job = cloud.map_reduce(lambda x: x * x, range(100), sum)
    assert job.results() == [sum(x * x for x in range(100))]
    assert cloud.map_reduce(abs, [], len).results() == [0]


def test_a_reduction_fails_as_its_mapping_or_its_reducer_did() -> None:
    from cloudbutton_backend.errors import JobFailed

    with pytest.raises(JobFailed, match="1 is odd") as caught:
        cloud.map_reduce(odd_ones_fail, range(4), sum).results()
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ZeroDivisionError):
        cloud.map_reduce(abs, range(4), lambda values: 1 // values[0]).results()
