"""Workers and schedulers that die, networks that are slow: nothing finished is lost, nothing hangs."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloudbutton_backend.backends.dask import backend, cluster
from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.errors import BackendError, WorkerLost
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.dask_backend.clusters import Commands, until
from tests.dask_backend.conftest import shared_cluster
from tests.dask_backend.proxy import SlowWay

# Dask's client leaves a socket to a scheduler that was lost for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def at(dask: DaskBackend) -> Iterator[TaskPlace]:
    place = TaskPlace(dask)
    try:
        yield place
    finally:
        place.session.close()
        gc.collect()


def waiting_for(gate: Path, begun: Path) -> Callable[[int], int]:
    """Return a task that notes where it runs; but for item 0, it waits for the gate."""
    gate_name, begun_name = str(gate), str(begun)

    def task(x: int) -> int:
        with open(begun_name, "a") as file:
            file.write(f"{x} {os.getppid()}\n")
        while x and not os.path.exists(gate_name):
            threading.Event().wait(0.005)
        return -x

    return task


def ran(begun: Path) -> list[int]:
    """Return the items that were begun."""
    return [int(line.split()[0]) for line in begun.read_text().splitlines()]


def test_a_dask_worker_that_dies_costs_nothing_but_time(commands: Commands, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(DaskBackend(DaskSettings(address=commands.address))) as place:
        job = place.start(waiting_for(gate, begun), range(40))
        until(lambda: begun.exists() and len(begun.read_text().split("\n")) > 2, "the job's start")
        held = begun.read_text().split()[-1]
        os.kill(int(held), signal.SIGKILL)  # the Dask worker; its nanny starts another
        gate.touch()
        assert job.wait(60)
        assert job.results() == [-x for x in range(40)]


def test_a_scheduler_that_dies_fails_the_job_soon_and_keeps_what_has_finished(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "RECONNECT_WITHIN", 1.0)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(DaskBackend(DaskSettings(address=commands.address))) as place:
        other = place.start(waiting_for(gate, tmp_path / "other"), range(10), workers=1)
        until(lambda: other.progress.done, "the first result of the other job")
        job = place.start(waiting_for(gate, begun), range(40))
        until(lambda: job.progress.done, "the first result")
        commands.kill(commands.scheduler)
        assert job.wait(30)
        assert job.state is JobState.FAILED
        with pytest.raises(BackendError, match=r"scheduler|No Dask"):
            job.results()
        assert 0 in job.partial()

        # Another scheduler at the same address, and workers that find it.
        commands.scheduler = commands.start_scheduler(commands.port)
        commands.start_worker()
        gate.touch()
        again = job.retry_failed()
        assert again.wait(60)
        assert again.results() == [-x for x in range(40)]
        assert ran(begun).count(0) == 1

    # The other job goes on at another address.
    way = SlowWay(commands.port, delay=0.0)
    try:
        with at(DaskBackend(DaskSettings(address=way.address))) as place:
            found = place.session.attach(other.id)
            assert found.wait(60)
            assert found.results() == [-x for x in range(10)]
            assert ran(tmp_path / "other").count(0) == 1
    finally:
        way.close()


def test_an_item_that_kills_dask_workers_fails_alone_and_says_so(commands: Commands) -> None:
    def task(x: int) -> int:
        if x == 1:
            os.kill(os.getppid(), signal.SIGKILL)
        return x

    with at(DaskBackend(DaskSettings(address=commands.address))) as place:
        job = place.start(task, range(3), errors="keep")
        assert job.wait(90)
        values = job.results()
    assert (values[0], type(values[1]), values[2]) == (0, WorkerLost, 2)
    assert "2 Dask workers died" in str(values[1])


def test_a_network_that_is_slow_delays_and_breaks_nothing(commands: Commands) -> None:
    way = SlowWay(commands.port, delay=0.1)
    try:
        with at(DaskBackend(DaskSettings(address=way.address))) as place:
            job = place.start(lambda x: x + 1, range(2000))
            assert job.wait(60)
            assert job.results() == list(range(1, 2001))
    finally:
        way.close()


def test_a_connection_that_breaks_is_made_again(commands: Commands, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    way = SlowWay(commands.port, delay=0.0)
    port = way.port
    try:
        with at(DaskBackend(DaskSettings(address=way.address))) as place:
            job: Job = place.start(waiting_for(gate, begun), range(40))
            until(lambda: job.progress.done, "the first result")
            way.close()
            way = SlowWay(commands.port, delay=0.0, own=port)
            gate.touch()
            assert job.wait(60)
            assert job.results() == [-x for x in range(40)]
    finally:
        way.close()


def test_nobody_at_the_address_is_told_before_the_job_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_WITHIN", 0.5)
    told = pytest.raises(BackendError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9")
    with at(DaskBackend(DaskSettings(address="tcp://127.0.0.1:9"))) as place, told:
        place.start(lambda x: x, [1])


def test_workers_that_are_suspended_do_not_hold_up_the_connection_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "EQUIP_WITHIN", 0.5)
    monkeypatch.setattr(cluster, "plugin_name", lambda: "one that they do not have")
    shared = shared_cluster()
    until(lambda: shared.log().count("Registered to") >= 2, "the workers' start")
    for worker in shared.workers:
        os.killpg(worker.pid, signal.SIGSTOP)
    try:
        told = pytest.raises(BackendError, match=r"within 0\.5 s. Is one of them suspended")
        with at(DaskBackend(DaskSettings(address=shared.address))) as place, told:
            place.start(lambda x: x, [1])
    finally:
        for worker in shared.workers:
            os.killpg(worker.pid, signal.SIGCONT)


def test_a_cluster_without_workers_is_waited_for_and_not_for_ever(commands: Commands) -> None:
    for worker in commands.workers:
        commands.kill(worker)
    with at(DaskBackend(DaskSettings(address=commands.address), patience=1.0)) as place:
        job = place.start(lambda x: x, [1])
        assert job.wait(30)
        with pytest.raises(BackendError, match="no workers"):
            job.results()
        started = commands.log().count("Registered to")
        commands.start_worker()
        until(lambda: commands.log().count("Registered to") > started, "a worker's start")
        assert job.retry_failed().results() == [1]
