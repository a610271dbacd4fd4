"""`Parallel` behaves on our backend as joblib documents it."""

from __future__ import annotations

import inspect
import itertools
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from pickle import PicklingError
from typing import Any

import joblib
import pytest
from joblib import Parallel, delayed, parallel_config

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import JobCancelled, UnknownName, UsageError
from tests.ext.conftest import Gate, Script

pytestmark = pytest.mark.usefixtures("on_ours")


def square(x: int) -> int:
    return x * x


class OwnError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code


def fails(code: int) -> None:
    raise OwnError(code, "on purpose")


def holds(gate: Gate, mark: str) -> str:
    gate.note(mark)
    gate.wait()
    return mark


# -- how it is chosen


@pytest.mark.parametrize("order", ["cloudbutton_ext, joblib", "joblib, cloudbutton_ext"])
@pytest.mark.parametrize("way", ["parallel_config", "parallel_backend"])
def test_the_name_is_known_whichever_is_imported_first(
    python: Script, order: str, way: str
) -> None:
    script = f"""
import {order}
with joblib.{way}("cloudbutton", n_jobs=2):
    print(joblib.Parallel()(joblib.delayed(abs)(-n) for n in range(5)))
"""
    assert python("-c", script).communicate(timeout=60) == ("[0, 1, 2, 3, 4]\n", "")


def test_importing_us_does_not_import_joblib(python: Script) -> None:
    script = "import sys, cloudbutton_ext; print('joblib' in sys.modules)"
    assert python("-c", script).communicate(timeout=60)[0] == "False\n"


def test_the_module_it_waits_for_is_loaded_as_ever(python: Script) -> None:
    script = """
import sys
before = len(sys.meta_path)
import cloudbutton_ext, joblib.parallel, inspect, importlib
print(len(sys.meta_path) == before, type(joblib.parallel.__loader__).__name__)
assert joblib.parallel.__spec__.loader is joblib.parallel.__loader__
assert "class Parallel" in inspect.getsource(joblib.parallel)
"""
    assert python("-c", script).communicate(timeout=60) == ("True SourceFileLoader\n", "")


def test_it_can_be_named_in_the_call() -> None:
    with parallel_config("threading"):
        newer = "backend_kwargs" in inspect.signature(Parallel).parameters  # joblib 1.5
        options = {"on": "local", "name": "mine"} if newer else {}
        parallel = Parallel(n_jobs=2, backend="cloudbutton", **options)
        assert os.getpid() not in parallel(delayed(os.getpid)() for _ in range(4))


def test_unknown_options_and_those_without_a_meaning_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean `retries`"):
        parallel_config("cloudbutton", retrys=1)
    with pytest.raises(UsageError, match="no use for `errors`"):
        parallel_config("cloudbutton", errors="keep")
    with pytest.raises(UsageError, match="mmap_mode='r\\+'"):
        Parallel(mmap_mode="r+")([delayed(abs)(1)])


def test_what_needs_shared_memory_runs_in_threads() -> None:
    seen: list[int] = []
    Parallel(n_jobs=2, require="sharedmem")(delayed(seen.append)(n) for n in range(5))
    assert sorted(seen) == [0, 1, 2, 3, 4]


# -- results


@pytest.mark.parametrize("n_jobs", [2, 3, -1, None])
@pytest.mark.parametrize("batch_size", ["auto", 1, 7])
@pytest.mark.parametrize("pre_dispatch", ["all", "2*n_jobs", 3])
def test_results_come_in_the_order_of_the_tasks(
    n_jobs: int | None, batch_size: Any, pre_dispatch: Any
) -> None:
    parallel = Parallel(n_jobs=n_jobs, batch_size=batch_size, pre_dispatch=pre_dispatch)
    assert parallel(delayed(square)(n) for n in range(40)) == [n * n for n in range(40)]


def test_no_tasks_give_no_results() -> None:
    assert Parallel()(delayed(square)(n) for n in []) == []


def test_a_batch_is_as_large_as_was_asked_for() -> None:
    parallel = Parallel(n_jobs=2, batch_size=5, pre_dispatch="all")
    pids = parallel(delayed(cloud.rng)() for _ in range(20))
    assert len(pids) == 20
    job = next(job for job in cloud.jobs() if job.name == "joblib: rng")
    assert job.wait(5) and job.n_items == 4


def test_no_more_tasks_are_drawn_than_pre_dispatch_says(gate: Gate) -> None:
    drawn = itertools.count()
    tasks = (delayed(holds)(gate, f"{n}") for n in iter(drawn.__next__, 12))
    results = Parallel(n_jobs=2, batch_size=1, pre_dispatch=4, return_as="generator")(tasks)
    gate.await_marks(2)
    assert next(drawn) <= 5  # four, and the one that this look has drawn
    gate.open()
    assert len(list(results)) == 11


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_results_are_there_before_the_last_task_has_ended(gate: Gate, return_as: str) -> None:
    tasks = [delayed(square)(n) for n in range(4)] + [delayed(holds)(gate, "last")]
    results = Parallel(n_jobs=2, batch_size=1, return_as=return_as)(tasks)
    assert sorted(next(results) for _ in range(4)) == [0, 1, 4, 9]
    gate.open()
    assert list(results) == ["last"]


def test_unordered_results_come_as_tasks_end(gate: Gate) -> None:
    tasks = [delayed(holds)(gate, "first"), *(delayed(square)(n) for n in range(4))]
    results = Parallel(n_jobs=2, batch_size=1, return_as="generator_unordered")(tasks)
    early = [next(results) for _ in range(4)]
    assert sorted(early) == [0, 1, 4, 9]
    gate.open()
    assert list(results) == ["first"]


def test_a_generator_given_up_ends_its_tasks_and_frees_the_workers(gate: Gate) -> None:
    tasks = [delayed(square)(3), *(delayed(holds)(gate, f"{n}") for n in range(8))]
    results = Parallel(n_jobs=2, batch_size=1, return_as="generator")(tasks)
    assert next(results) == 9
    with pytest.warns(UserWarning, match="have been cancelled"):
        results.close()
    assert Parallel()(delayed(square)(n) for n in range(4)) == [0, 1, 4, 9]


def test_one_object_serves_many_calls() -> None:
    with Parallel(n_jobs=2) as parallel:
        for start in range(3):
            assert parallel(delayed(square)(n) for n in range(start)) == [
                n * n for n in range(start)
            ]


def test_calls_from_several_threads_do_not_mix() -> None:
    found: dict[int, list[int]] = {}

    def run(start: int) -> None:
        with parallel_config("cloudbutton"):
            found[start] = Parallel(n_jobs=2)(delayed(square)(n) for n in range(start, start + 20))

    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {start: [n * n for n in range(start, start + 20)] for start in (0, 100, 200)}


def test_calls_begun_in_one_context_do_not_end_each_other(gate: Gate) -> None:
    outer = Parallel(n_jobs=2, batch_size=1, return_as="generator")
    results = outer([delayed(square)(3), delayed(holds)(gate, "outer"), delayed(square)(4)])
    assert next(results) == 9
    with pytest.raises(OwnError):
        Parallel(n_jobs=2)(delayed(fails)(n) for n in range(2))
    given_up = Parallel(n_jobs=2, batch_size=1, return_as="generator")(
        delayed(square)(n) for n in range(4)
    )
    next(given_up)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it had done in vain
        given_up.close()
    gate.open()
    assert list(results) == ["outer", 16]


def test_a_task_may_be_made_by_another_call() -> None:
    def tasks() -> Any:
        for n in range(6):
            yield delayed(sum)(Parallel(n_jobs=2)(delayed(square)(k) for k in range(n)))

    found = Parallel(n_jobs=2, batch_size=1)(tasks())
    assert found == [sum(k * k for k in range(n)) for n in range(6)]


def test_what_tasks_print_appears_here(python: Script) -> None:
    script = """
import cloudbutton_ext, joblib
with joblib.parallel_config("cloudbutton", n_jobs=2):
    joblib.Parallel()(joblib.delayed(print)("task", n) for n in range(3))
"""
    out, err = python("-c", script).communicate(timeout=60)
    assert sorted(out.splitlines()) == ["task 0", "task 1", "task 2"] and err == ""


# -- how many


@pytest.mark.parametrize(("asked", "gives"), [(1, 1), (2, 2), (5, 5), (-1, 2), (-2, 1), (-9, 1)])
def test_effective_n_jobs(asked: int, gives: int) -> None:
    assert joblib.effective_n_jobs(asked) == gives


def test_zero_jobs_have_no_meaning() -> None:
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)([delayed(square)(1)])


def test_one_job_runs_here() -> None:
    assert Parallel(n_jobs=1)([delayed(os.getpid)()]) == [os.getpid()]


def test_no_more_tasks_run_at_once_than_n_jobs(tmp_path: Path) -> None:
    def alone(n: int) -> int:
        handle = os.open(tmp_path / f"{n}", os.O_CREAT)
        os.close(handle)
        at_once = len(os.listdir(tmp_path))
        time.sleep(0.005)
        os.unlink(tmp_path / f"{n}")
        return at_once

    assert max(Parallel(n_jobs=2, batch_size=1)(delayed(alone)(n) for n in range(30))) <= 2


# -- nested


def inner(n: int) -> tuple[str, list[int]]:
    parallel = Parallel(n_jobs=2)
    return type(parallel._backend).__name__, parallel(delayed(square)(k) for k in range(n))


def outer(n: int) -> list[tuple[str, list[int]]]:
    return Parallel(n_jobs=2)(delayed(inner)(k) for k in range(n))


def test_the_first_level_below_runs_in_threads_the_next_one_after_the_other() -> None:
    found = Parallel(n_jobs=2)(delayed(inner)(n) for n in range(4))
    assert found == [("ThreadingBackend", [k * k for k in range(n)]) for n in range(4)]
    deeper = Parallel(n_jobs=2)(delayed(outer)(n) for n in range(3))
    assert [name for level in deeper for name, _ in level] == ["SequentialBackend"] * 3


def test_it_can_be_chosen_again_inside_a_task() -> None:
    def again(n: int) -> list[int]:
        import cloudbutton_ext  # noqa: F401, so that joblib there knows the name

        with parallel_config("cloudbutton", n_jobs=2):
            return Parallel()(delayed(square)(k) for k in range(n))

    assert Parallel(n_jobs=2)(delayed(again)(n) for n in range(4)) == [
        [k * k for k in range(n)] for n in range(4)
    ]


def test_it_can_be_used_below_threads() -> None:
    def below(n: int) -> list[int]:
        return Parallel(n_jobs=2, backend="cloudbutton")(delayed(square)(k) for k in range(n))

    found = Parallel(n_jobs=2, backend="threading")(delayed(below)(n) for n in range(4))
    assert found == [[k * k for k in range(n)] for n in range(4)]


# -- when something goes wrong


def test_an_exception_has_its_type_its_attributes_and_its_lines() -> None:
    with pytest.raises(OwnError) as caught:
        Parallel(n_jobs=2)(delayed(fails)(code) for code in (7, 7))
    assert caught.value.code == 7
    cause = caught.value.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    assert 'raise OwnError(code, "on purpose")' in str(cause)


def test_an_exception_keeps_its_own_cause() -> None:
    def chained() -> None:
        try:
            {}["luck"]
        except KeyError as error:
            raise ValueError("no luck") from error

    with pytest.raises(ValueError, match="no luck") as caught:
        Parallel(n_jobs=2)(delayed(chained)() for _ in range(2))
    assert isinstance(caught.value.__cause__, KeyError)


def test_after_an_exception_what_runs_is_ended(gate: Gate) -> None:
    def fails_later() -> None:
        gate.await_marks(1)
        raise OwnError(1, "late")

    tasks = [delayed(holds)(gate, "begun"), delayed(fails_later)()]
    with pytest.raises(OwnError):
        Parallel(n_jobs=2, batch_size=1)(tasks)
    assert Parallel(n_jobs=2)(delayed(square)(n) for n in range(4)) == [0, 1, 4, 9]


def test_a_generator_of_tasks_that_fails_is_heard() -> None:
    def tasks() -> Any:
        yield from (delayed(square)(n) for n in range(20))
        raise OwnError(2, "in the generator")

    with pytest.raises(OwnError, match="in the generator"):
        Parallel(n_jobs=2, batch_size=1)(tasks())


def test_a_task_that_is_too_slow_is_ended(gate: Gate) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(n_jobs=2, timeout=0.2)(delayed(holds)(gate, f"{n}") for n in range(2))
    assert Parallel(n_jobs=2, timeout=30)(delayed(square)(n) for n in range(4)) == [0, 1, 4, 9]


@pytest.mark.parametrize("first", [0, 12])
def test_a_task_that_cannot_travel_says_so(first: int) -> None:
    tasks = [delayed(square)(1)] * first + [delayed(repr)(threading.Lock())]
    with pytest.raises(PicklingError, match="lock"):
        Parallel(n_jobs=2, batch_size=1, pre_dispatch=4)(tasks)


def test_a_result_that_cannot_travel_says_so() -> None:
    with pytest.raises(PicklingError, match="cannot travel back"):
        Parallel(n_jobs=2)(delayed(threading.Lock)() for _ in range(2))


def test_a_dead_worker_is_an_error_and_the_next_call_works() -> None:
    with pytest.raises(BrokenExecutor, match="code 3"):
        Parallel(n_jobs=2)(delayed(os._exit)(3) for _ in range(2))
    assert Parallel(n_jobs=2)(delayed(square)(n) for n in range(4)) == [0, 1, 4, 9]


def test_a_worker_that_dies_once_is_not_noticed(tmp_path: Path) -> None:
    def dies_once(n: int) -> int:
        try:
            os.close(os.open(tmp_path / "died", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return n
        os._exit(1)

    assert Parallel(n_jobs=2)(delayed(dies_once)(n) for n in range(10)) == list(range(10))


def test_cancelling_its_job_ends_the_call(gate: Gate) -> None:
    def cancel() -> None:
        gate.await_marks(2)
        cloud.jobs()[0].cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises((BrokenExecutor, JobCancelled), match="cancelled"):
        Parallel(n_jobs=2, batch_size=1)(delayed(holds)(gate, f"{n}") for n in range(9))
    canceller.join(5)


# -- threads of numerical libraries


def blas_threads() -> tuple[str | None, set[int]]:
    import numpy
    import threadpoolctl

    numpy.ones((2, 2)) @ numpy.ones((2, 2))
    found = {info["num_threads"] for info in threadpoolctl.threadpool_info()}
    return os.environ.get("OMP_NUM_THREADS"), found


def test_inner_max_num_threads_holds_within_the_call_only() -> None:
    with parallel_config("cloudbutton", inner_max_num_threads=2):
        limited = Parallel(n_jobs=2, batch_size=1)(delayed(blas_threads)() for _ in range(4))
    assert {named for named, _ in limited} == {"2"}
    # OpenBLAS takes no more threads from its variable than there are CPUs.
    assert all(max(found) == min(2, os.cpu_count() or 1) for _, found in limited)
    usual = Parallel(n_jobs=2, batch_size=1)(delayed(blas_threads)() for _ in range(4))
    assert all(named == "1" and found == {1} for named, found in usual)


def test_a_cached_function_runs_there_and_finds_its_cache_here(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib's, about functions of a notebook
        remembered: Callable[[int], int] = joblib.Memory(tmp_path, verbose=0).cache(square)
    assert Parallel(n_jobs=2)(delayed(remembered)(n) for n in range(4)) == [0, 1, 4, 9]
    assert all(remembered.check_call_in_cache(n) for n in range(4))  # type: ignore[attr-defined]
