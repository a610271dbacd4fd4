"""What tasks may do to their worker, and what is left of the job then."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.errors import (
    JobCancelled,
    RemoteError,
    ResultNotSendable,
    TaskTimeout,
    UsageError,
    WorkerLost,
)
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session.launcher import JobSource
from cloudbutton_backend.session.session import Session
from cloudbutton_magic.display.job_view import failure_groups

KEEP = JobOptions(errors="keep")


def worker_pids(session: Session) -> list[int]:
    return [worker.pid for worker in session.driver("local").backend._workers.values()]  # type: ignore[attr-defined]


def assert_usable(session: Session) -> None:
    """The pool still gives right answers."""
    assert session.map(lambda x: x + 1, [1, 2, 3]).results() == [2, 3, 4]


@pytest.mark.parametrize("seed", range(50))
def test_a_worker_killed_at_a_random_moment_costs_no_result(session: Session, seed: int) -> None:
    chance = random.Random(seed)
    job = session.map(lambda x: (x, sum(range(2000)) * x), range(2000))
    delay = chance.uniform(0.0, 0.04)
    threading.Event().wait(delay)
    victim = chance.choice(worker_pids(session) or [0])
    if victim:
        os.kill(victim, signal.SIGKILL)
    arrived = [index for index, _ in job.as_completed()]
    assert sorted(arrived) == list(range(2000))
    assert job.results() == [(x, sum(range(2000)) * x) for x in range(2000)]


def exit_at_3(x: int) -> int:
    if x == 3:
        os._exit(7)
    return x


def overflow_at_3(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGSEGV)  # what a stack overflow in C ends in
    return x


def recurse_at_3(x: int) -> int:
    def deeper(n: int) -> int:
        return deeper(n + 1)

    return deeper(0) if x == 3 else x


@pytest.mark.parametrize(
    ("task", "cause"), [(exit_at_3, "exited with code 7"), (overflow_at_3, "SIGSEGV")]
)
def test_an_item_that_kills_its_worker_fails_alone_with_its_cause(
    session: Session, task: Callable[[int], int], cause: str
) -> None:
    results = session.map(task, range(100), options=KEEP).results()
    error = results[3]
    assert isinstance(error, WorkerLost) and cause in str(error) and error.attempts == 3
    assert [r for i, r in enumerate(results) if i != 3] == [i for i in range(100) if i != 3]
    assert_usable(session)


def test_an_item_that_kills_its_worker_once_is_run_again_unseen(
    session: Session, tmp_path: Any
) -> None:
    mark = str(tmp_path / "died")

    def once(x: int) -> int:
        if x == 5 and not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return x

    job = session.map(once, range(20))
    assert job.results() == list(range(20))
    assert job.progress.lost_workers == 1


def test_endless_recursion_is_an_ordinary_exception(session: Session) -> None:
    results = session.map(recurse_at_3, range(6), options=KEEP).results()
    assert isinstance(results[3], RecursionError)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_item_above_the_memory_limit_is_stopped_and_says_so(session: Session) -> None:
    def hungry(x: int) -> int:
        if x == 1:
            block = b"x" * (600 << 20)
            time.sleep(30)
            return len(block)
        return x

    job = session.map(hungry, range(4), options=JobOptions(errors="keep", memory=300))
    results = job.results()
    assert isinstance(results[1], WorkerLost) and "limit of 300 MiB" in str(results[1])
    assert [results[i] for i in (0, 2, 3)] == [0, 2, 3]


def test_an_item_over_its_time_is_stopped_and_the_others_are_kept(session: Session) -> None:
    def slow(x: int) -> int:
        if x == 2:
            time.sleep(60)
        return x

    results = session.map(slow, range(6), options=JobOptions(errors="keep", timeout=1.5)).results()
    assert isinstance(results[2], TaskTimeout) and "1.5 s" in str(results[2])
    assert [r for i, r in enumerate(results) if i != 2] == [0, 1, 3, 4, 5]


class Awkward(Exception):
    """Its `__init__` wants two arguments, and passes on one."""

    def __init__(self, first: str, second: int) -> None:
        super().__init__(f"{first}/{second}")
        self.second = second


class Stuck(Exception):
    """Holds something that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("stuck")
        self.lock = threading.Lock()


class Unloadable:
    """Can be pickled, cannot be unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    if threading.current_thread().name == "MainThread" and "pytest" in sys.modules:
        raise ValueError("not here")


def raises(make: Callable[[], BaseException]) -> Callable[[int], int]:
    def task(x: int) -> int:
        if x == 1:
            raise make()
        return x

    return task


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Awkward("a", 2), Awkward, "a/2"),
        (Stuck, Stuck, "stuck"),
        (lambda: ValueError("plain"), ValueError, "plain"),
        (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), UnicodeDecodeError, "bad"),
        (lambda: OSError(2, "gone", "file.txt"), FileNotFoundError, "file.txt"),
        (lambda: SystemExit(3), SystemExit, "3"),
        (lambda: KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
)
def test_an_exception_keeps_its_type_and_message(
    session: Session, make: Callable[[], BaseException], kind: type, text: str
) -> None:
    results = session.map(raises(make), range(3), options=KEEP).results()
    assert type(results[1]).__name__ == kind.__name__ and text in str(results[1])
    assert not isinstance(results[1], RemoteError)
    assert results[0] == 0 and results[2] == 2


def test_a_result_that_cannot_be_pickled_spoils_no_other(session: Session) -> None:
    results = session.map(lambda x: (x, threading.Lock()) if x == 1 else x, range(3), options=KEEP)
    values = results.results()
    assert isinstance(values[1], ResultNotSendable) and "lock" in str(values[1])
    assert values[0] == 0 and values[2] == 2


def test_a_result_that_cannot_be_unpickled_spoils_no_other(session: Session) -> None:
    values = session.map(
        lambda x: Unloadable() if x == 1 else [x], range(3), options=KEEP
    ).results()
    assert isinstance(values[1], ResultNotSendable) and "not here" in str(values[1])
    assert values[0] == [0] and values[2] == [2]


def closes_stdout(x: int) -> int:
    sys.stdout.close()
    with contextlib.suppress(OSError):  # an earlier item of the batch may have closed it
        os.close(1)
    return x


def forks(x: int) -> int:
    if os.fork() == 0:
        return -1  # a child that does not end itself must not go on with the batch
    os.wait()
    return x


def starts_threads(x: int) -> int:
    threading.Thread(target=time.sleep, args=(0.05,)).start()
    return x


def changes_its_world(x: int) -> int:
    os.chdir("/")
    os.environ["CB_LEAK"] = "1"
    return x


@pytest.mark.parametrize("task", [closes_stdout, forks, starts_threads, changes_its_world])
def test_a_task_that_meddles_with_its_process_harms_nobody(
    session: Session, task: Callable[[int], int]
) -> None:
    assert session.map(task, range(10)).results() == list(range(10))
    seen = session.map(lambda _: (os.getcwd(), os.environ.get("CB_LEAK")), range(4)).results()
    assert seen == [(os.getcwd(), None)] * 4
    printed = session.map(lambda x: print("still heard", x), range(2))
    assert ["".join(str(o.data) for o in out.outputs) for out in printed.outcomes()] == [
        "still heard 0\n",
        "still heard 1\n",
    ]


def spins(_: int) -> None:
    while True:
        pass


def refuses_to_stop(_: int) -> None:
    while True:
        try:
            for _ in iter(int, 1):
                ctypes.string_at(b"x")
        except BaseException:
            continue


def sleeps_in_c(_: int) -> None:
    time.sleep(60)


@pytest.mark.parametrize("task", [spins, refuses_to_stop, sleeps_in_c])
def test_cancelling_stops_the_work_at_once(session: Session, task: Callable[[int], None]) -> None:
    job = session.map(task, range(10))
    while job.progress.running == 0:
        threading.Event().wait(0.005)
    job.cancel()
    assert job.wait(10.0)  # a third of a second; the rest is for busy machines
    assert job.state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        job.results()
    assert_usable(session)


def test_a_cancelled_job_keeps_what_had_finished_and_can_go_on(
    session: Session, tmp_path: Any
) -> None:
    gate = str(tmp_path / "gate")

    def task(x: int) -> int:
        while x >= 4 and not os.path.exists(gate):
            time.sleep(0.005)
        return x

    job = session.map(task, range(10))
    for finished, _ in enumerate(job.new_results(), 1):
        if finished == 4:
            job.cancel()
    assert job.partial() == {i: i for i in range(4)}
    open(gate, "w").close()
    assert job.retry_failed().results() == list(range(10))


def test_the_error_that_surfaces_is_the_first_in_the_order_of_the_items(session: Session) -> None:
    def task(x: int) -> int:
        if x == 0:
            time.sleep(0.1)
        raise ValueError(f"item {x}")

    with pytest.raises(ValueError, match="item 0"):
        session.map(task, range(8)).results()


def test_failed_items_can_be_retried_alone(session: Session, tmp_path: Any) -> None:
    flag = tmp_path / "fixed"
    path = str(flag)

    def task(x: int) -> int:
        if x % 7 == 0 and not os.path.exists(path):
            raise RuntimeError("not yet")
        return x

    job = session.map(task, range(30), options=KEEP)
    assert sum(isinstance(r, RuntimeError) for r in job.results()) == 5
    assert sorted(job.errors()) == [0, 7, 14, 21, 28]
    flag.touch()
    assert job.retry_failed().results() == list(range(30))


def test_retries_are_for_exceptions_and_are_counted(session: Session, tmp_path: Any) -> None:
    folder = str(tmp_path)

    def task(x: int) -> int:
        attempts = len(os.listdir(folder))
        open(os.path.join(folder, f"{attempts}-{os.getpid()}-{time.monotonic_ns()}"), "w").close()
        if attempts < 2:
            raise ConnectionError("flaky")
        return x

    job = session.map(task, [0], options=JobOptions(retries=2))
    assert job.results() == [0]
    assert job.progress.retried == 2


def test_an_array_that_a_task_keeps_is_not_overwritten_by_later_items(session: Session) -> None:
    np = pytest.importorskip("numpy")
    import builtins

    def task(array: Any) -> float:
        kept = builtins.__dict__.setdefault("_cb_kept", [])
        kept.append((array, float(array[0])))
        return float(all(float(a[0]) == value for a, value in kept))

    items = [np.full(20_000, i, dtype=float) for i in range(40)]
    assert session.map(task, items).results() == [1.0] * 40


def test_items_and_results_may_be_changed_by_their_owners(session: Session) -> None:
    np = pytest.importorskip("numpy")

    def task(array: Any) -> Any:
        array += 1
        return array

    for n in (10, 100_000):
        items = [np.zeros(n) for _ in range(4)]
        for result in session.map(task, items).results():
            result[0] = 5.0
            assert result[1] == 1.0
        assert all(item[0] == 0.0 for item in items)


def test_a_dead_kernel_leaves_no_worker_behind(tmp_path: Any) -> None:
    import subprocess

    code = (
        "import time, os, sys\n"
        "from cloudbutton_backend.session import session\n"
        "s = session.current()\n"
        "assert s.warm_up('local', timeout=30)\n"
        "job = s.map(lambda x: [0 for _ in iter(int, 1)], range(4))\n"
        "while job.progress.running < 2: time.sleep(0.01)\n"
        "print(*[w.pid for w in s.driver('local').backend._workers.values()], flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CLOUDBUTTON_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env) as kernel:
        assert kernel.stdout is not None
        pids = [int(pid) for pid in kernel.stdout.readline().split()]
        kernel.kill()
    deadline = time.monotonic() + 5
    while any(map(_exists, pids)) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert len(pids) == 2 and not any(map(_exists, pids))


def _exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_many_jobs_at_once_do_not_mix_up_their_results(session: Session) -> None:
    jobs: dict[int, Job] = {}

    def start(k: int) -> None:
        jobs[k] = session.map(lambda x: (k, x), range(50))

    threads = [threading.Thread(target=start, args=(k,)) for k in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, job in jobs.items():
        assert job.results() == [(k, x) for x in range(50)]


def test_a_traceback_shows_the_lines_that_failed(session: Session) -> None:
    def helper(x: int) -> float:
        y = x - 1
        return 1 / y

    def task(x: int) -> float:
        return helper(x)

    with pytest.raises(ZeroDivisionError) as caught:
        session.map(task, [1]).results()
    lines = [(entry.name, entry.line) for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert lines[-2:] == [("task", "return helper(x)"), ("helper", "return 1 / y")]


def test_a_failed_job_can_be_retried_when_many_others_have_run_since(session: Session) -> None:
    job = session.map(lambda x: 1 // x, [1, 0], options=KEEP)
    job.wait()
    for _ in range(110):
        session.map(len, ["ab"]).results()
    assert job.retry_failed().wait(10.0)
    assert isinstance(job.results()[1], ZeroDivisionError)
    assert_usable(session)


def test_a_global_that_tasks_rebind_is_warned_of(session: Session) -> None:
    namespace: dict[str, Any] = {"calls": 0}
    exec("def count(x):\n    global calls\n    calls += 1\n    return calls", namespace)
    job = session.map(namespace["count"], range(6))
    job.results()
    (warning,) = job.progress.warnings
    assert "`calls`" in warning and namespace["calls"] == 0


def test_what_a_task_only_reads_is_no_reason_for_a_warning(session: Session) -> None:
    table, factor = {"a": [1, 2]}, 3.5

    def task(x: int) -> float:
        return table["a"][x % 2] * factor

    job = session.map(task, range(40))
    job.results()
    assert job.progress.warnings == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_waiting_for_a_cpu_is_not_counted_as_work(session: Session) -> None:
    def spin(_: int) -> float:
        start = time.process_time()
        while time.process_time() - start < 0.05:
            pass
        return time.process_time() - start

    job = session.map(spin, range(24), options=JobOptions(workers=8))
    worked = sum(job.results())
    assert job.progress.task_seconds < 1.5 * worked


@pytest.mark.parametrize(
    ("function", "items", "words"),
    [([1, 2], [1], "function, not a list"), (abs, 5, "iterable, not an int")],
)
def test_what_is_no_function_or_no_items_is_refused_by_name(
    session: Session, function: Any, items: Any, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        session.map(function, items)


def fail_in_its_way(x: str) -> Any:
    if x == "raise":
        print("about to raise")
        raise ValueError(x)
    if x == "keep":
        return (n for n in x)
    os._exit(7)


def test_the_items_left_of_a_loop_are_numbered_as_in_the_loop(session: Session) -> None:
    ways = ["raise", "keep", "die"]
    job = session.map(fail_in_its_way, ways, options=KEEP, origin=JobSource(before=4))
    job.wait()
    errors = job.errors()
    assert list(errors) == [0, 1, 2], "the job's own results are found as ever"
    assert [getattr(error, "cloud_index", None) for error in errors.values()] == [4, 5, 6]
    assert str(errors[1]).startswith("Item 5 ") and "item 6 ('die')" in str(errors[2])
    assert job.progress.first_error == "ValueError: raise (item 4: 'raise')"
    assert [group.first for group in failure_groups(errors)] == [
        "item 4: 'raise'",
        "item 5 ('keep')",
        "item 6 ('die')",
    ]
    session.journal.flush()
    found = JournalReader(session.journal.home).errors(job.id)
    assert [error.index for error in found] == [4, 5, 6]
