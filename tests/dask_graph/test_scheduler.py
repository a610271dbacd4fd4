"""What a scheduler owes beside values: errors, callbacks, cancelling, nesting, little that travels."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask import delayed
from dask.callbacks import Callback
from dask.diagnostics import ProgressBar

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import (
    BudgetReached,
    CaptureError,
    JobCancelled,
    UnknownName,
    UsageError,
    WorkerLost,
)
from cloudbutton_backend.session.session import Session
from cloudbutton_ext.integrations.dask_graphs.scheduler import DaskScheduler
from tests.ext.conftest import Gate, Script

PATIENCE = 30.0


class OutOfStock(Exception):
    """An error of the user's, with an argument that must arrive."""


# -- errors


def test_an_error_surfaces_as_itself_with_the_line_that_raised_it(local: DaskScheduler) -> None:
    @delayed
    def take(n: int) -> int:
        if n == 3:
            raise OutOfStock(n)
        return n

    with pytest.raises(OutOfStock) as caught:
        dask.compute([take(n) for n in range(6)], scheduler=local)
    assert caught.value.args == (3,)
    lines = [str(entry.statement) for entry in caught.traceback]
    assert any("raise OutOfStock(n)" in line for line in lines)


def test_a_failed_task_can_be_run_again_here(local: DaskScheduler) -> None:
    here = os.getpid()
    failing = delayed(lambda n: 1 / n if os.getpid() != here else "ran here")(0)
    with pytest.raises(ZeroDivisionError):
        failing.compute(scheduler=local)
    ran: list[int] = []

    def note_and_fail(n: int) -> float:
        ran.append(os.getpid())
        return 1 / n

    with pytest.raises(ZeroDivisionError):
        delayed(note_and_fail)(0).compute(scheduler=local, rerun_exceptions_locally=True)
    assert ran == [here]


def test_a_task_that_ends_its_worker_each_time_is_an_error_that_says_so(
    local: DaskScheduler,
) -> None:
    with pytest.raises(WorkerLost, match="exited with code 7"):
        delayed(os._exit)(7).compute(scheduler=local)


def test_a_task_that_failed_is_tried_again_as_often_as_asked_for(
    local: DaskScheduler, gate: Gate
) -> None:
    @delayed
    def second_time(n: int) -> int:
        if not gate.marks():
            gate.note("first")
            raise OutOfStock(n)
        return n

    assert second_time(4).compute(scheduler=cloud.dask_scheduler("local", retries=1)) == 4


def test_what_cannot_travel_is_named(local: DaskScheduler) -> None:
    lock = threading.Lock()
    with pytest.raises(CaptureError, match="lock"):
        delayed(lambda held: held)(lock).compute(scheduler=local)


def test_a_result_that_cannot_come_back_is_an_error(local: DaskScheduler) -> None:
    with pytest.raises(Exception, match="lock"):
        delayed(threading.Lock)().compute(scheduler=local)


# -- ending it


@pytest.mark.usefixtures("emulated")
def test_a_budget_that_is_reached_ends_the_computation_with_that_reason() -> None:
    parts = [delayed(abs)(n) for n in range(20)]
    with pytest.raises(BudgetReached):
        dask.compute(parts, scheduler=cloud.dask_scheduler("lambda", budget=1e-9))


def test_ctrl_c_ends_the_tasks_that_run(local: DaskScheduler, gate: Gate, session: Session) -> None:
    @delayed
    def wait(n: int) -> int:
        gate.note(str(n))
        gate.wait()
        return n

    def interrupt() -> None:
        gate.await_marks(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        dask.compute([wait(n) for n in range(8)], scheduler=local)
    job = session.jobs()[0]
    assert job.wait(PATIENCE) and job.state.value == "cancelled"


def test_a_graph_whose_job_is_cancelled_elsewhere_ends_with_that_reason(
    local: DaskScheduler, gate: Gate, session: Session
) -> None:
    @delayed
    def wait(n: int) -> int:
        gate.note(str(n))
        gate.wait()
        return n

    def cancel() -> None:
        gate.await_marks(1)
        session.jobs()[0].cancel()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(JobCancelled):
        dask.compute([wait(n) for n in range(8)], scheduler=local)


def test_when_one_task_fails_those_that_run_are_ended(
    local: DaskScheduler, gate: Gate, session: Session
) -> None:
    @delayed
    def fail() -> None:
        gate.await_marks(1)
        raise OutOfStock

    @delayed
    def wait() -> None:
        gate.note("waiting")
        gate.wait()

    with pytest.raises(OutOfStock):
        dask.compute(wait(), fail(), scheduler=local)
    job = session.jobs()[0]
    assert job.wait(PATIENCE) and gate._path("open") not in os.listdir(gate._folder)


# -- what Dask offers around a scheduler


def test_callbacks_hear_of_every_task(local: DaskScheduler) -> None:
    class Watch(Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[str] = []
            self.workers: set[Any] = set()

        def _start(self, graph: Mapping[Any, Any]) -> None:
            self.heard.append("start")

        def _pretask(self, key: Any, graph: Mapping[Any, Any], state: Mapping[str, Any]) -> None:
            self.heard.append("pretask")

        def _posttask(
            self, key: Any, result: Any, graph: Any, state: Mapping[str, Any], worker: Any
        ) -> None:
            self.heard.append("posttask")
            self.workers.add(worker)

        def _finish(self, graph: Any, state: Mapping[str, Any], failed: bool) -> None:
            self.heard.append(f"finish, failed: {failed}")

    with Watch() as watch:
        dask.compute([delayed(abs)(n) for n in range(5)], scheduler=local)
    assert (watch.heard[0], watch.heard[-1]) == ("start", "finish, failed: False")
    assert watch.heard.count("pretask") == watch.heard.count("posttask") == 5
    assert watch.workers and os.getpid() not in watch.workers


def test_the_progress_bar_ends_at_a_hundred_per_cent(
    local: DaskScheduler, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar(minimum=0.0, dt=0.01):
        assert da.ones(100, chunks=10).sum().compute(scheduler=local) == 100
    assert "100% Completed" in capsys.readouterr().out


def test_what_tasks_print_appears_here(
    local: DaskScheduler, capsys: pytest.CaptureFixture[str]
) -> None:
    delayed(print)("hello from a task").compute(scheduler=local)
    assert "hello from a task" in capsys.readouterr().out


@pytest.mark.parametrize("inner", ["ours", "threads"])
def test_a_task_may_compute_a_graph_in_its_turn(local: DaskScheduler, inner: str) -> None:
    scheduler: Any = local if inner == "ours" else inner

    @delayed
    def total(n: int) -> int:
        parts = [delayed(pow)(i, 2) for i in range(n)]
        return int(delayed(sum)(parts).compute(scheduler=scheduler))

    computed = dask.compute([total(n) for n in range(5)], scheduler=local)[0]
    assert computed == [sum(i**2 for i in range(n)) for n in range(5)]


def test_several_threads_may_compute_at_a_time(local: DaskScheduler) -> None:
    found: dict[int, int] = {}

    def compute(n: int) -> None:
        found[n] = delayed(sum)([delayed(abs)(-i) for i in range(n)]).compute(scheduler=local)

    threads = [threading.Thread(target=compute, args=(n,)) for n in (3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {3: 3, 4: 6, 5: 10}


# -- what travels


@pytest.mark.parametrize("how", ["as a value of its own", "as an argument of each call"])
def test_a_large_value_that_many_tasks_use_travels_once(
    local: DaskScheduler, session: Session, how: str
) -> None:
    array = np.arange(50_000.0)
    value = delayed(array) if how == "as a value of its own" else array
    part = delayed(lambda values, n: float(values[n::10].sum()))
    total = delayed(sum)([part(value, n) for n in range(10)])
    assert total.compute(scheduler=local) == array.sum()
    report = str(session.jobs()[0].explain())
    assert "400 kB" in report and "sent once" in report


def test_a_chain_of_tasks_travels_as_one(local: DaskScheduler, session: Session) -> None:
    step = delayed(lambda values: values + 1)
    assert step(step(step(np.zeros(3)))).compute(scheduler=local).tolist() == [3, 3, 3]
    assert session.jobs()[0].n_items == 1


def test_results_are_put_together_here(local: DaskScheduler, session: Session) -> None:
    whole = da.ones((6, 6), chunks=3).map_blocks(lambda block: block * os.getpid())
    values = whole.compute(scheduler=local)
    assert values.shape == (6, 6) and os.getpid() not in values
    assert session.jobs()[0].n_items == 4, "one for each block"


def test_a_scheduler_travels_and_tells_what_it_is() -> None:
    scheduler = cloud.dask_scheduler("local", workers=2, name="sums")
    assert (
        repr(scheduler) == "DaskScheduler(backend='local', options={'workers': 2, 'name': 'sums'})"
    )
    inner = delayed(lambda chosen: chosen.options["name"])(scheduler)
    assert inner.compute(scheduler=scheduler) == "sums"


# -- options and refusals


def test_without_dask_an_error_says_what_to_install(python: Script) -> None:
    process = python(
        "-c",
        "import sys; sys.modules['dask'] = None\n"
        "from cloudbutton_ext import *\n"
        "try:\n"
        "    dask_scheduler()\n"
        "except CloudError as error:\n"
        "    print(error)",
    )
    out, err = process.communicate(timeout=PATIENCE)
    assert 'pip install "cloudbutton[dask]"' in out, err


def test_options_may_be_given_where_something_is_computed(
    local: DaskScheduler, session: Session
) -> None:
    delayed(abs)(1).compute(scheduler=local, name="absolute", num_workers=1)
    job = session.jobs()[0]
    assert (job.name, job.options.workers) == ("absolute", 1)
    delayed(sum)([delayed(abs)(n) for n in range(4)]).compute(scheduler=local)
    assert session.jobs()[0].name == "dask: 5 tasks"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"bugdet": 1.0}, UnknownName), ({"errors": "keep"}, UsageError)],
)
def test_an_option_that_makes_no_sense_is_an_error_at_once(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        cloud.dask_scheduler("local", **options)


@pytest.mark.parametrize("shape", [(4, 4), (400, 400)], ids=["small", "large"])
def test_storing_into_an_array_of_this_process_is_refused(
    local: DaskScheduler, shape: tuple[int, int]
) -> None:
    target = np.zeros(shape)
    with pytest.raises(UsageError, match="`store` would have tasks write to an array"):
        da.store(da.ones(shape, chunks=2 if shape == (4, 4) else 200) + 1, target, scheduler=local)
    assert not target.any()


def test_a_shuffle_through_files_is_refused_where_workers_share_no_disk() -> None:
    import dask.bag as db

    words = db.from_sequence(["a", "b", "c"], npartitions=2)
    with pytest.raises(UsageError, match="no disk in common"):
        words.groupby(str, shuffle="disk").compute(scheduler=cloud.dask_scheduler("lambda"))


def test_a_program_that_computes_ends_by_itself(python: Script) -> None:
    process = python(
        "-c",
        "import dask, cloudbutton_ext as cloud\n"
        "if __name__ == '__main__':\n"
        "    print(dask.delayed(abs)(-2).compute(scheduler=cloud.dask_scheduler('local')))",
    )
    began = time.monotonic()
    out, err = process.communicate(timeout=PATIENCE)
    assert (out, process.returncode) == ("2\n", 0), (err, time.monotonic() - began)
