"""Connections, servers, agents, workers and kernels that die: nothing finished is lost, nothing stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cloudbutton_backend.backends.ssh import backend as ssh_backend
from cloudbutton_backend.backends.ssh import connection
from cloudbutton_backend.backends.ssh.backend import SshBackend
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.errors import BackendError
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.ssh_backend.server import SshServer, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT", 0.5)


@contextmanager
def at(server: SshServer, hosts: Any = "big1", **settings: Any) -> Iterator[TaskPlace]:
    chosen = {"config": server.config, "workers": 2, **settings}
    place = TaskPlace(SshBackend(SshSettings(hosts=hosts, **chosen)))
    try:
        yield place
    finally:
        place.session.close()


def waiting_for(gate: Path, begun: Path) -> Callable[[int], int]:
    """Return a task that notes where it begins; but for item 0, it waits for the gate."""
    gate_name, begun_name = str(gate), str(begun)

    def task(x: int) -> int:
        with open(begun_name, "a") as file:
            file.write(f"{x} {os.getppid()}\n")
        while x and not os.path.exists(gate_name):  # ends: with the gate, or with the worker
            threading.Event().wait(0.005)
        with open(begun_name + "-ended", "a") as file:
            file.write("!")
        return -x

    return task


def ran(begun: Path) -> list[int]:
    """Return the items that have begun."""
    lines = begun.read_text().splitlines() if begun.exists() else []
    return [int(line.split()[0]) for line in lines]


def break_client(server: SshServer) -> None:
    (client,) = server.clients()
    client.kill()


def suspend_client(server: SshServer) -> None:
    (client,) = server.clients()
    client.suspend()


def break_sessions(server: SshServer) -> None:
    for each in server.sessions():
        each.kill()


@pytest.mark.parametrize("harm", [break_client, suspend_client, break_sessions])
def test_a_connection_that_breaks_is_made_again_and_no_item_runs_twice(
    server: SshServer, tmp_path: Path, harm: Callable[[SshServer], None]
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(server) as place:
        job = place.start(waiting_for(gate, begun), range(40))
        until(lambda: job.progress.done and len(ran(begun)) > 2, "the job's start")
        agent = server.agent()
        clients = server.clients()
        harm(server)
        gate.touch()
        assert job.wait(30)
        assert job.results() == [-x for x in range(40)]
        assert sorted(ran(begun)) == list(range(40))
        assert server.agent() == agent and server.clients() != clients
        assert any("broke" in line for line in job.progress.warnings)


def test_what_ends_while_there_is_no_connection_is_handed_over_later(
    server: SshServer, tmp_path: Path
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(server) as place:
        job = place.start(waiting_for(gate, begun), range(3))
        until(lambda: job.progress.done and len(ran(begun)) == 3, "the job's start")
        server.stop()
        break_client(server)
        gate.touch()
        ended = Path(f"{begun}-ended")
        until(lambda: ended.read_text() == "!!!", "the end of all items")
        assert job.progress.done == 1
        server.start()
        assert job.wait(30)
        assert job.results() == [0, -1, -2]
        assert sorted(ran(begun)) == [0, 1, 2]


def test_an_agent_that_dies_costs_nothing_but_time(server: SshServer, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(server) as place:
        job = place.start(waiting_for(gate, begun), range(40))
        until(lambda: job.progress.done and len(ran(begun)) > 2, "the job's start")
        agent = server.agent()
        workers = agent.children()
        agent.kill()
        until(lambda: not any(each.is_running() for each in workers), "the end of its workers")
        gate.touch()
        assert job.wait(30)
        assert job.results() == [-x for x in range(40)]
        assert ran(begun).count(0) == 1
    assert list(server.scratch.iterdir()) == []


KERNEL = """
import os, sys
from cloudbutton_backend.backends.ssh import connection
connection.HEARTBEAT = 0.3
from cloudbutton_backend.session import session
from cloudbutton_backend.job_model import JobOptions

session.current().use("ssh", hosts="big1", workers=2, grace=1.0, config=sys.argv[1])
def task(x):
    import threading
    threading.Event().wait()
session.current().map(task, range(4), options=JobOptions(backend="ssh")).wait()
"""


@contextmanager
def kernel(server: SshServer, tmp_path: Path) -> Iterator[psutil.Process]:
    """Run a kernel with a job that does not end."""
    command = [sys.executable, "-c", KERNEL, server.config]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CLOUDBUTTON_HOME": str(tmp_path / "home"),
    }
    process = subprocess.Popen(command, env=environment)
    try:
        until(lambda: len(server.processes("worker.loop")) == 2, "the workers' start")
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_a_kernel_that_dies_leaves_nothing_behind(server: SshServer, tmp_path: Path) -> None:
    with kernel(server, tmp_path) as process:
        clients = server.clients(process.pid)
        process.kill()
        until(lambda: not server.processes(), "the end of all there", 10)
        until(lambda: not any(each.is_running() for each in clients), "the end of ssh here", 10)
    assert list(server.scratch.iterdir()) == []


def test_a_kernel_that_vanishes_without_a_sign_is_waited_for_in_the_grace_period_only(
    server: SshServer, tmp_path: Path
) -> None:
    with kernel(server, tmp_path) as process:
        (client,) = server.clients(process.pid)
        client.suspend()  # as when a cable is pulled: the server is not told
        process.kill()
        until(lambda: not server.processes(), "the end of all there", 10)
        client.kill()


def test_a_machine_that_stays_away_fails_the_job_and_what_has_finished_is_kept(
    server: SshServer, tmp_path: Path
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(server, grace=1.0) as place:
        job = place.start(waiting_for(gate, begun), range(10))
        until(lambda: job.progress.done and len(ran(begun)) > 2, "the job's start")
        server.stop()
        break_client(server)
        assert job.wait(30)
        assert job.state is JobState.FAILED
        with pytest.raises(BackendError, match=r"big1 was lost . s ago.*Connection refused"):
            job.results()
        assert job.partial() == {0: 0}
        server.start()
        gate.touch()
        again = job.retry_failed()
        assert again.wait(30)
        assert again.results() == [-x for x in range(10)]
        assert ran(begun).count(0) == 1


def test_the_items_of_a_machine_that_stays_away_go_to_the_others(
    server: SshServer, other_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_backend, "MOVE_ON", 0.5)
    far = Path(other_server.config).read_text().replace("Host big1 big2", "Host far")
    config = tmp_path / "config"
    config.write_text(Path(server.config).read_text() + far)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    chosen = {"workers": 1, "grace": 2.0, "config": str(config)}
    with at(server, ["big1", "far"], **chosen) as place:
        job = place.start(waiting_for(gate, begun), range(1, 20))
        until(lambda: len(ran(begun)) == 2, "both machines' start")
        other_server.stop()
        for client in server.clients():
            if "far" in client.cmdline():
                client.kill()
        gate.touch()
        assert job.wait(30)
        assert job.results() == [-x for x in range(1, 20)]


def test_a_job_is_cancelled_at_once_where_nobody_answers(server: SshServer, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with at(server) as place:
        job = place.start(waiting_for(gate, begun), range(10))
        until(lambda: job.progress.done and len(ran(begun)) > 2, "the job's start")
        before = ran(begun)
        server.stop()
        break_client(server)
        job.cancel()
        assert job.wait(5)
        assert job.state is JobState.CANCELLED
        server.start()
        assert place.map(lambda x: x + 1, range(5)) == [1, 2, 3, 4, 5]
        assert ran(begun) == before


def test_ctrl_c_in_the_notebook_is_not_for_its_connections(server: SshServer) -> None:
    with at(server) as place:
        assert place.map(lambda x: x, [1]) == [1]
        (client,) = server.clients()
        assert os.getpgid(client.pid) != os.getpgid(0)
