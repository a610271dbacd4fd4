"""Jobs on other machines: what tasks see there, what travels, and who else is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends.ssh.backend import SshBackend
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.session import session
from cloudbutton_backend.testing.conformance import TaskPlace
from cloudbutton_magic.commands.line_magic import CommandContext, run_command
from tests.ssh_backend.conftest import shared_server
from tests.ssh_backend.server import SshServer, until


def place_at(server: SshServer, hosts: Any = "big1", **settings: Any) -> TaskPlace:
    chosen = {"config": server.config, "workers": 2, **settings}
    return TaskPlace(SshBackend(SshSettings(hosts=hosts, **chosen)))


@pytest.fixture
def place(server: SshServer) -> Iterator[TaskPlace]:
    place = place_at(server, variables="CHOSEN")
    yield place
    place.session.close()


def test_tasks_see_the_variables_there_and_of_the_notebooks_those_that_are_named(
    place: TaskPlace, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHOSEN", "yes")
    monkeypatch.setenv("SECRET", "no")
    names = ("CHOSEN", "SECRET", "HOME")
    (found,) = place.map(lambda _: [os.environ.get(name) for name in names], [0])
    assert found == ["yes", None, str(server.home)]


def test_tasks_run_in_the_notebooks_folder_or_in_their_users(
    place: TaskPlace, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.map(lambda _: os.getcwd(), [0]) == [str(tmp_path)]
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(os, "getcwd", lambda: str(tmp_path / "gone"))
    assert place.map(lambda _: os.path.realpath("."), [0]) == [str(server.home)]


def test_what_a_login_shell_prints_is_in_nobodys_way(place: TaskPlace, server: SshServer) -> None:
    (server.home / ".bashrc").write_text("echo Welcome to big1.\n")
    assert place.map(lambda x: x + 1, [1]) == [2]


def test_files_at_home_that_are_called_like_modules_are_in_nobodys_way(
    place: TaskPlace, server: SshServer
) -> None:
    (server.home / "socket.py").write_text("raise ImportError('not this one')\n")
    assert place.map(lambda x: x + 1, [1]) == [2]


def test_a_large_value_is_sent_once_for_all_workers_and_later_jobs(
    place: TaskPlace, server: SshServer
) -> None:
    table = os.urandom(8_000_000)

    def sent() -> int:
        (client,) = server.clients()
        count: int = client.io_counters().write_chars
        return count

    assert place.map(lambda at: table[at], range(40)) == list(table[:40])
    first = sent()
    assert 8_000_000 < first < 12_000_000
    assert place.map(lambda at: table[-at], range(1, 40)) == list(table[:-40:-1])
    assert sent() - first < 1_000_000


def test_code_is_kept_there_for_later_kernels_and_nothing_else(server: SshServer) -> None:
    for _ in range(2):
        place = place_at(server)
        assert place.map(lambda x: x, [1]) == [1]
        place.session.close()
    assert server.processes() == []
    assert list(server.scratch.iterdir()) == []
    (kept,) = (server.home / "cache" / "cloudbutton" / "worker").iterdir()
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert {each.name for each in kept.iterdir()} == {"cloudbutton_backend", "cloudpickle"}


def test_two_kernels_at_one_machine_have_workers_of_their_own(server: SshServer) -> None:
    first, second = place_at(server), place_at(server)
    (mine,), (theirs,) = (each.map(lambda _: os.getppid(), [0]) for each in (first, second))
    assert mine != theirs
    first.session.close()
    until(lambda: server.agent().pid == theirs, "the end of the first one's")
    assert second.map(lambda x: x + 1, [1]) == [2]
    second.session.close()


def test_two_machines_share_a_job(server: SshServer) -> None:
    place = place_at(server, ["big1", "big2"], workers=1)
    gate, begun = server.folder / "gate", server.folder / "begun"
    gate_name, begun_name = str(gate), str(begun)

    def meet(x: int) -> int:
        with open(begun_name, "a") as file:
            file.write("!")
        while not os.path.exists(gate_name):
            if os.path.getsize(begun_name) == 2:  # both machines are at it
                open(gate_name, "w").close()
        return os.getppid()

    assert len(set(place.map(meet, range(2)))) == 2
    place.session.close()


def test_as_many_workers_as_usable_cpus(server: SshServer) -> None:
    place = place_at(server, workers=None)
    place.map(lambda x: x, [1])
    assert place.backend.limits.workers == len(os.sched_getaffinity(0))
    place.session.close()


@pytest.mark.parametrize(
    "words", ["big1 big2", "big1,big2", "hosts=big1,big2", "--hosts big1,big2"]
)
def test_machines_are_named_behind_the_backend(words: str) -> None:
    context = CommandContext(namespace={}, screen=None)  # type: ignore[arg-type]
    run_command(f"use ssh {words} workers=2 config={shared_server().config}", context)
    backend = session.current().driver("ssh").backend
    assert isinstance(backend, SshBackend)
    assert backend.settings.targets == ("big1", "big2")
    session.current().use("local")


def test_machines_may_be_a_list_in_code() -> None:
    session.current().use("ssh", hosts=["big1", "big2"])
    backend = session.current().driver("ssh").backend
    assert isinstance(backend, SshBackend) and backend.settings.targets == ("big1", "big2")
    session.current().use("local")
