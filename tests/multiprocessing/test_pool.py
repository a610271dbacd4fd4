"""`Pool` behaves as that of `multiprocessing`, and does not hang where that one does."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing import TimeoutError
from pathlib import Path
from typing import Any

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import CloudError, JobCancelled, UnknownName, UsageError, WorkerLost
from cloudbutton_backend.worker.calls import InitializerFailed
from cloudbutton_ext.multiprocessing import AsyncResult, Pool
from tests.ext.conftest import Gate, Script


def square(x: int) -> int:
    return x * x


def inverse(x: int) -> float:
    return 1 / x


def holds(gate: Gate, mark: Any = "begun") -> Any:
    gate.note(f"{mark}")
    gate.wait()
    return mark


# -- results

WAYS: dict[str, Callable[[Pool, Any], Any]] = {
    "map": lambda pool, items: pool.map(square, items),
    "map in chunks": lambda pool, items: pool.map(square, items, 3),
    "map_async": lambda pool, items: pool.map_async(square, items).get(30),
    "imap": lambda pool, items: list(pool.imap(square, items)),
    "imap in chunks": lambda pool, items: list(pool.imap(square, items, chunksize=3)),
    "imap_unordered": lambda pool, items: sorted(pool.imap_unordered(square, items)),
    "starmap": lambda pool, items: pool.starmap(pow, [(x, 2) for x in items]),
    "starmap_async": lambda pool, items: pool.starmap_async(pow, ((x, 2) for x in items)).get(30),
    "apply": lambda pool, items: [pool.apply(square, (x,)) for x in items],
    "apply_async": lambda pool, items: [
        result.get(30) for result in [pool.apply_async(pow, (x,), {"exp": 2}) for x in items]
    ],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("items", [[], [3], range(20)], ids=str)
def test_each_way_gives_all_results(pool: Pool, way: str, items: Any) -> None:
    assert WAYS[way](pool, items) == [x * x for x in items]
    assert WAYS[way](pool, iter(items)) == [x * x for x in items]


def test_functions_of_the_notebook_and_what_they_use_travel(pool: Pool) -> None:
    power = 3
    assert pool.map(lambda x: x**power, [1, 2]) == [1, 8]
    assert pool.apply(lambda x: x**power, (3,)) == 27


def test_imap_yields_before_the_last_item_has_ended(pool: Pool, gate: Gate) -> None:
    results = pool.imap(lambda x: holds(gate) if x == 2 else x, range(3))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(TimeoutError):
        results.next(timeout=0.01)
    gate.open()
    assert results.next(timeout=10) == "begun"
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(StopIteration):
        results.next(1)


def test_imap_unordered_yields_what_is_there(pool: Pool, gate: Gate) -> None:
    results = pool.imap_unordered(lambda x: x and holds(gate, x), [1, 0])
    assert next(results) == 0
    gate.open()
    assert list(results) == [1]


def test_imap_takes_items_without_end(pool: Pool) -> None:
    results = pool.imap(square, itertools.count())
    assert list(itertools.islice(results, 100)) == [x * x for x in range(100)]


# -- results that may not be there yet


def test_an_async_result_says_how_it_stands(pool: Pool, gate: Gate) -> None:
    result = pool.map_async(holds, [gate])
    assert not result.ready() and "under way" in repr(result)
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    result.wait(0.01)
    with pytest.raises(TimeoutError):
        result.get(0.01)
    gate.open()
    result.wait()
    assert result.ready() and result.successful() and result.get() == ["begun"]
    failed = pool.apply_async(inverse, (0,))
    with pytest.raises(ZeroDivisionError):
        failed.get(10)
    assert failed.ready() and not failed.successful() and "failed" in repr(failed)


@pytest.mark.parametrize("way", ["map_async", "apply_async"])
def test_callbacks_are_told_before_those_who_wait(pool: Pool, way: str) -> None:
    told: list[Any] = []
    start: Callable[..., AsyncResult] = getattr(pool, way)
    good, bad = ([1, 2], [0]) if way == "map_async" else ((2,), (0,))
    function = inverse
    start(function, good, callback=told.append, error_callback=pytest.fail).wait(10)
    start(function, bad, callback=pytest.fail, error_callback=told.append).wait(10)
    assert told[0] == ([1.0, 0.5] if way == "map_async" else 0.5)
    assert isinstance(told[1], ZeroDivisionError)


def test_a_callback_that_fails_hinders_nobody(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    result = pool.apply_async(square, (3,), callback=lambda _: {}["luck"])
    assert result.get(10) == 9 and pool.apply(square, (4,)) == 16
    assert "a callback of a pool raised" in caplog.text


# -- when something goes wrong


def test_map_runs_all_items_and_raises_the_first_error(pool: Pool, gate: Gate) -> None:
    def notes(x: int) -> float:
        gate.note(f"{x}")
        return 1 / (x % 3)

    with pytest.raises(ZeroDivisionError):
        pool.map(notes, range(7))
    assert len(gate.marks()) == 7


def test_imap_raises_at_the_failed_item_and_goes_on(pool: Pool) -> None:
    results = pool.imap(inverse, [1, 0, 2])
    assert next(results) == 1.0
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == [0.5]


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_items_that_raise_are_heard_after_the_results_before(pool: Pool, way: str) -> None:
    def items() -> Any:
        yield from range(7)
        raise KeyError("luck")

    results = getattr(pool, way)(square, items(), 4)
    assert sorted(next(results) for _ in range(7)) == [x * x for x in range(7)]
    with pytest.raises(KeyError, match="luck"):
        next(results)
    with pytest.raises(KeyError, match="luck"):
        pool.map(square, items())


def test_a_dead_worker_is_an_error_and_not_the_end(pool: Pool) -> None:
    with pytest.raises(WorkerLost, match="code 3"):
        pool.map(os._exit, [3])
    with pytest.raises(BrokenExecutor, match="code 3"):
        pool.apply(os._exit, (3,))
    assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]


def test_what_cannot_travel_is_a_pickling_error(pool: Pool) -> None:
    lock = threading.Lock()
    for call in (
        lambda: pool.map(repr, [lock]),
        lambda: pool.map(lambda _: lock, [1]),
        lambda: pool.apply(repr, (lock,)),
        lambda: pool.apply(threading.Lock),
    ):
        with pytest.raises(pickle.PicklingError, match="lock"):
            call()
    assert pool.apply(square, (3,)) == 9


# -- its life


def test_close_finishes_what_was_given(gate: Gate) -> None:
    pool = Pool(2)
    results = [pool.map_async(holds, [gate]), pool.apply_async(holds, (gate,))]
    pool.close()
    pool.close()
    for call in (
        lambda: pool.map(square, [1]),
        lambda: pool.imap(square, [1]),
        lambda: pool.apply(square, (1,)),
        pool.__enter__,
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    gate.open()
    pool.join()
    assert [result.get(0) for result in results] == [["begun"], "begun"]


def test_join_runs_what_nobody_looks_at(gate: Gate) -> None:
    pool = Pool(2)
    pool.imap_unordered(gate.note, map(str, range(50)))
    pool.close()
    pool.join()
    assert len(gate.marks()) == 50


def test_join_needs_an_end_to_wait_for(pool: Pool) -> None:
    with pytest.raises(ValueError, match="still running"):
        pool.join()


def test_terminate_ends_what_runs_and_nobody_waits_for_ever(gate: Gate) -> None:
    pool = Pool(2)
    many = pool.map_async(holds, [gate] * 10)
    gate.await_marks(1)
    one = pool.apply_async(holds, (gate, "other"))
    last = pool.imap(holds, [gate] * 10)
    pool.terminate()
    pool.join()
    for call in (lambda: many.get(10), lambda: one.get(10), lambda: last.next(10)):
        with pytest.raises((CloudError, BrokenExecutor)):
            call()
    assert cloud.map(square, [3]).results() == [9]  # the workers are others' again


def test_cancelling_the_job_behind_a_map_ends_it(pool: Pool, gate: Gate) -> None:
    result = pool.map_async(holds, [gate] * 10)
    gate.await_marks(1)
    cloud.jobs()[0].cancel()
    with pytest.raises(JobCancelled):
        result.get(10)


def test_a_pool_that_nobody_holds_leaves_no_open_job() -> None:
    pool = Pool(2)
    assert pool.apply(square, (2,)) == 4
    job = cloud.jobs()[0]
    del pool
    gc.collect()
    assert job.wait(5)


def test_what_was_not_joined_is_ended_with_the_interpreter(python: Script) -> None:
    script = """
import time
from cloudbutton_ext.multiprocessing import Pool
pool = Pool(2)
print(pool.apply(abs, (-1,)))
pool.apply_async(time.sleep, (1000,))
pool.map_async(time.sleep, [1000])
"""
    assert python("-c", script).communicate(timeout=60) == ("1\n", "")


def test_what_tasks_print_appears_here(python: Script) -> None:
    script = """
from cloudbutton_ext.multiprocessing import Pool
with Pool(2) as pool:
    pool.map(print, ["map"])
    list(pool.imap(print, ["imap"]))
    pool.apply(print, ("apply",))
with Pool(2, quiet=True) as pool:
    pool.map(print, ["quiet"])
"""
    out, err = python("-c", script).communicate(timeout=60)
    assert (out, err) == ("map\nimap\napply\n", "")


def test_queues_and_locks_of_a_manager_reach_the_workers() -> None:
    with multiprocessing.get_context("spawn").Manager() as manager, Pool(2) as pool:
        queue, found, lock = manager.Queue(), manager.dict(), manager.Lock()

        def note(x: int) -> None:
            with lock:
                found[x] = x * x

        pool.map(note, range(5))
        assert dict(found) == {x: x * x for x in range(5)}
        pool.starmap(lambda into, x: into.put(x), [(queue, 1), (queue, 2)])
        pool.apply(queue.put, (3,))
        assert sorted(queue.get(timeout=10) for _ in range(3)) == [1, 2, 3]


# -- initializer

STATE: list[int] | None = None


def begin(start: int, log: str) -> None:
    global STATE
    STATE = [start]
    with open(log, "a") as file:
        file.write("x")


def started(x: int) -> int:
    assert STATE is not None
    return STATE[0] + x


def test_an_initializer_runs_once_in_each_worker_of_a_map(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Pool(2, begin, (10, str(log))) as pool:
        assert pool.map(started, range(20)) == list(range(10, 30))
        assert 1 <= len(log.read_text()) <= 2
        assert list(pool.imap(started, [1])) == [11]
        before = len(log.read_text())
        assert [pool.apply(started, (x,)) for x in range(9)] == list(range(10, 19))
        assert len(log.read_text()) - before <= 2
    assert STATE is None


def test_one_that_fails_is_heard() -> None:
    with Pool(2, {}.__getitem__, ("model",)) as pool:
        with pytest.raises(InitializerFailed, match="KeyError: 'model'"):
            pool.map(square, [1, 2])
        with pytest.raises(BrokenExecutor, match="initializer failed"):
            pool.apply(square, (1,))


# -- options


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": -1}, ValueError),
        ({"maxtasksperchild": 0}, ValueError),
        ({"maxtasksperchild": 0.5}, ValueError),
        ({"initializer": 3}, TypeError),
        ({"retrys": 3}, UnknownName),
        ({"errors": "raise"}, UsageError),
        ({"backend": "moon"}, UnknownName),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], kind: type) -> None:
    with pytest.raises(kind):
        Pool(**options).map(square, [1])


def test_those_of_multiprocessing_that_mean_nothing_here_are_taken() -> None:
    context = multiprocessing.get_context("spawn")
    with Pool(2, maxtasksperchild=1, context=context) as pool:
        assert pool.map(square, [1, 2], chunksize=10) == [1, 4]
        with pytest.raises(ValueError, match="Chunksize"):
            pool.imap(square, [1], chunksize=0)


def test_options_of_a_job_are_the_pools(tmp_path: Path) -> None:
    def dies(path: str) -> str:
        if not os.path.exists(path):
            open(path, "w").close()
            raise OSError("not yet")
        return "there"

    with Pool(2, retries=1, timeout=30, name="mine") as pool:
        assert pool.map(dies, [str(tmp_path / "mark")]) == ["there"]
        assert cloud.jobs()[0].options.retries == 1


def test_a_pool_does_not_travel(pool: Pool) -> None:
    with pytest.raises(NotImplementedError, match="cannot be passed"):
        pickle.dumps(pool)


def test_a_small_map_is_quick(pool: Pool) -> None:
    pool.map(square, [1, 2])
    start = time.perf_counter()
    for _ in range(50):
        pool.map(square, [1, 2])
    assert time.perf_counter() - start < 10  # about 50 ms; the rest is for busy machines
