"""`Executor` behaves as executors of `concurrent.futures` do."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Future,
    as_completed,
    wait,
)
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import CaptureError, UnknownName, UsageError, WorkerLost
from tests.ext.conftest import Gate


@pytest.fixture
def executor() -> Iterator[cloud.Executor]:
    with cloud.Executor(2) as executor:
        yield executor


def fails(x: Any) -> None:
    try:
        raise KeyError(x)
    except KeyError as error:
        raise ValueError(f"no {x}") from error


def holds(gate: Gate, mark: str = "begun") -> str:
    gate.note(mark)
    gate.wait()
    return mark


def blocked(executor: cloud.Executor, gate: Gate) -> list[Future[str]]:
    """Keep both workers busy until the gate opens."""
    futures = [executor.submit(holds, gate, f"begun {n}") for n in range(2)]
    gate.await_marks(2)
    return futures


def test_a_call_gives_its_result_or_its_exception_with_cause_and_lines(
    executor: cloud.Executor,
) -> None:
    assert executor.submit(pow, 2, 5).result() == 32
    assert executor.submit(lambda *, base: int("11", base), base=2).result() == 3
    error = executor.submit(fails, "luck").exception()
    assert isinstance(error, ValueError) and str(error) == "no luck"
    assert isinstance(error.__cause__, KeyError)
    lines = [entry.name for entry in traceback.extract_tb(error.__traceback__)]
    assert lines[-1] == "fails"
    with pytest.raises(ValueError, match="no luck"):
        executor.submit(fails, "luck").result()


def test_map_gives_results_in_order(executor: cloud.Executor) -> None:
    assert list(executor.map(pow, range(100), range(100), chunksize=7)) == [
        x**x for x in range(100)
    ]
    assert list(executor.map(abs, [])) == []
    assert list(executor.map(abs, (x for x in range(5)), buffersize=2)) == list(range(5))
    with pytest.raises(ValueError):
        executor.map(abs, [1], chunksize=0)
    with pytest.raises(ValueError):
        executor.map(abs, [1], buffersize=0)


def test_map_pulls_no_further_than_its_buffer(executor: cloud.Executor) -> None:
    pulled = itertools.count()
    results = executor.map(abs, pulled, buffersize=3)
    assert next(results) == 0 and next(results) == 1
    results.close()  # type: ignore[attr-defined]
    assert next(pulled) <= 5


def test_map_raises_where_its_item_failed(executor: cloud.Executor) -> None:
    results = executor.map(divmod, [1, 1, 1], [1, 0, 1])
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_keeps_to_its_timeout(executor: cloud.Executor, gate: Gate) -> None:
    results = executor.map(lambda x: x and holds(gate), [0, 1], timeout=0.05)
    assert next(results) == 0
    with pytest.raises(FutureTimeout):
        next(results)
    gate.open()


def test_a_result_is_awaited_only_so_long(executor: cloud.Executor, gate: Gate) -> None:
    future = executor.submit(holds, gate)
    with pytest.raises(FutureTimeout):
        future.result(0.01)
    with pytest.raises(FutureTimeout):
        future.exception(0.01)
    gate.open()
    assert future.result() == "begun"


def test_a_future_says_how_its_call_stands(executor: cloud.Executor, gate: Gate) -> None:
    future = executor.submit(holds, gate)
    gate.await_marks(1)
    assert future.running() and not future.done() and not future.cancel()
    gate.open()
    assert future.result() == "begun" and future.done() and not future.cancelled()


def test_a_call_that_was_not_sent_can_be_cancelled(executor: cloud.Executor, gate: Gate) -> None:
    blocked(executor, gate)
    futures = [executor.submit(gate.note, f"unwanted {n}") for n in range(20)]
    cancelled = [future for future in futures if future.cancel()]
    assert len(cancelled) >= 15  # some may be with the workers already
    with pytest.raises(CancelledError):
        cancelled[-1].result()
    gate.open()
    assert wait(futures, timeout=10).not_done == set()
    ran = {mark for mark in gate.marks() if mark.startswith("unwanted")}
    assert len(ran) == len(futures) - len(cancelled)


def test_callbacks_are_called_with_the_future(executor: cloud.Executor) -> None:
    seen: list[Future[int]] = []
    called = threading.Event()
    future = executor.submit(abs, -1)
    future.add_done_callback(seen.append)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(5) and seen == [future]


def test_a_callback_may_submit_and_shut_down() -> None:
    executor = cloud.Executor(2)
    more: list[Future[int]] = []
    done = threading.Event()

    def next_one(_: Future[int]) -> None:
        more.append(executor.submit(abs, -2))
        executor.shutdown()  # from the thread that it would wait for
        done.set()

    executor.submit(abs, -1).add_done_callback(next_one)
    assert done.wait(5) and more[0].result(5) == 2


def test_wait_and_as_completed_work(executor: cloud.Executor, gate: Gate) -> None:
    slow = executor.submit(holds, gate)
    quick, bad = executor.submit(abs, -1), executor.submit(fails, "luck")
    assert quick in wait([slow, quick], return_when=FIRST_COMPLETED).done
    assert bad in wait([slow, bad], return_when=FIRST_EXCEPTION).done
    finished = as_completed([slow, quick, bad])
    assert {next(finished), next(finished)} == {quick, bad}
    gate.open()
    assert next(finished) is slow
    assert wait([slow, quick, bad], return_when=ALL_COMPLETED).not_done == set()


def test_after_shutdown_nothing_can_be_submitted() -> None:
    executor = cloud.Executor(2)
    future = executor.submit(abs, -3)
    executor.shutdown()
    executor.shutdown(wait=False)
    assert future.done() and future.result() == 3
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)
    unused = cloud.Executor()
    unused.shutdown()
    with pytest.raises(RuntimeError):
        unused.submit(abs, 1)
    assert "shut down" in repr(executor)


def test_shutdown_without_waiting_finishes_what_was_submitted(gate: Gate) -> None:
    executor = cloud.Executor(2)
    futures = [*blocked(executor, gate), executor.submit(abs, -1)]
    executor.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result(5) for future in futures] == ["begun 0", "begun 1", 1]


def test_shutdown_can_cancel_what_waits(gate: Gate) -> None:
    executor = cloud.Executor(2)
    running = blocked(executor, gate)
    waiting = [executor.submit(time.sleep, 10) for _ in range(50)]
    sent = [future for future in waiting if future.running()]
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert wait(running, timeout=5).not_done == set()
    assert sum(future.cancelled() for future in waiting) >= len(waiting) - max(len(sent), 4)


def test_a_with_block_waits_for_its_calls() -> None:
    with cloud.Executor(2) as executor:
        futures = [executor.submit(time.sleep, 0.02) for _ in range(4)]
    assert all(future.done() for future in futures)


def test_a_dead_worker_breaks_only_the_call_that_killed_it(executor: cloud.Executor) -> None:
    good = [executor.submit(abs, n) for n in range(50)]
    bad = executor.submit(os._exit, 3)
    good += [executor.submit(abs, n) for n in range(50)]
    error = bad.exception()
    assert isinstance(error, BrokenExecutor) and "code 3" in str(error)
    assert isinstance(error.__cause__, WorkerLost)
    assert [future.result() for future in good] == [*range(50), *range(50)]
    assert executor.submit(abs, -9).result() == 9


def test_arguments_that_cannot_travel_fail_their_call_alone(executor: cloud.Executor) -> None:
    with open(__file__) as file:
        bad = executor.submit(repr, file)
        assert isinstance(bad.exception(), CaptureError)
    assert executor.submit(abs, -1).result() == 1


def test_arguments_and_results_are_let_go_once_their_owners_do(executor: cloud.Executor) -> None:
    class Thing:
        pass

    for function in (lambda thing: 1, lambda thing: 1 // 0):
        thing = Thing()
        watched = weakref.ref(thing)
        future = executor.submit(function, thing)
        wait([future])
        del thing
        assert executor.submit(abs, -1).result() == 1  # the call before has been dealt with
        gc.collect()
        assert watched() is None

    result = executor.submit(Thing).result()
    watched = weakref.ref(result)
    del result
    executor.submit(abs, -1).result()
    gc.collect()
    assert watched() is None


def test_five_thousand_calls_take_a_second_or_so(executor: cloud.Executor) -> None:
    start = time.perf_counter()
    futures = [executor.submit(abs, -n) for n in range(5_000)]
    assert [future.result() for future in futures] == list(range(5_000))
    assert time.perf_counter() - start < 10  # about half a second; the rest is for busy machines


async def test_it_runs_under_asyncio(executor: cloud.Executor) -> None:
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(executor, pow, 2, n) for n in range(10)]
    assert await asyncio.gather(*calls) == [2**n for n in range(10)]
    with pytest.raises(ValueError, match="no luck"):
        await loop.run_in_executor(executor, fails, "luck")


def test_two_executors_share_the_workers() -> None:
    with cloud.Executor(1) as one, cloud.Executor(2) as other:
        pairs = [(one.submit(abs, -n), other.submit(pow, n, 2)) for n in range(30)]
        assert [(a.result(), b.result()) for a, b in pairs] == [(n, n * n) for n in range(30)]


def test_never_more_calls_at_once_than_max_workers(gate: Gate) -> None:
    with cloud.Executor(1) as executor:
        first = executor.submit(holds, gate, "first")
        second = executor.submit(gate.note, "second")
        gate.await_marks(1)
        assert cloud.map(abs, [-1]).results() == [1]  # the other worker is free
        assert gate.marks() == {"first"}
        gate.open()
        assert first.result() == "first" and second.result() is None


def test_cancelling_the_job_behind_it_ends_every_future(gate: Gate) -> None:
    executor = cloud.Executor(2)
    running = blocked(executor, gate)
    waiting = [executor.submit(abs, n) for n in range(20)]
    cloud.jobs()[0].cancel()
    assert wait([*running, *waiting], timeout=5).not_done == set()
    assert all(isinstance(future.exception(), BrokenExecutor) for future in running)
    assert all(future.cancelled() for future in waiting if not future.running())
    with pytest.raises(BrokenExecutor, match="cancelled"):
        executor.submit(abs, 1)
    with pytest.raises(UsageError, match="Submit them again"):
        cloud.jobs()[0].retry_failed()


def test_an_executor_that_nobody_holds_is_collected_and_its_calls_end(gate: Gate) -> None:
    executor = cloud.Executor(2)
    future = blocked(executor, gate)[0]
    job = cloud.jobs()[0]
    watched = weakref.ref(executor)
    del executor
    gc.collect()
    assert watched() is None
    gate.open()
    assert future.result(5) == "begun 0" and job.wait(5)


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        ((0,), {}, ValueError),
        ((-1,), {}, ValueError),
        ((2,), {"mp_context": None}, UnknownName),
        ((2,), {"errors": "raise"}, UsageError),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: Any, options: Any, kind: type) -> None:
    with pytest.raises(kind):
        cloud.Executor(*arguments, **options)
