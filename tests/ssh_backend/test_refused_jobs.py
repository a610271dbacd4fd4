"""What prevents a job is said before it begins: by whom, why, and what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.backends.ssh.backend import SshBackend
from cloudbutton_backend.backends.ssh.settings import SshSettings
from cloudbutton_backend.errors import BackendError, PackagesDoNotFit, UsageError
from cloudbutton_backend.testing.conformance import TaskPlace
from tests.ssh_backend.conftest import shared_server

VERSION = "{}.{}".format(*sys.version_info)


@contextmanager
def at(hosts: Any, **settings: Any) -> Iterator[TaskPlace]:
    chosen = {"config": shared_server().config, "workers": 1, **settings}
    place = TaskPlace(SshBackend(SshSettings(hosts=hosts, **chosen)))
    try:
        yield place
    finally:
        place.session.close()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (
            "nowhere.invalid",
            r"nowhere\.invalid cannot be used(.|\n)*No machine is called like that",
        ),
        (
            "refusing",
            r"Permission denied(.|\n)*`ssh -F .* refusing` must work(.|\n)*ssh-copy-id .*refusing",
        ),
        (
            "unknown",
            r"Host key verification failed(.|\n)*`ssh -F .* unknown` must work in a terminal",
        ),
        ("silent", r"silent cannot be used(.|\n)*Connection refused(.|\n)*must work in a terminal"),
    ],
)
def test_why_a_machine_cannot_be_reached_is_said_with_what_to_do(host: str, said: str) -> None:
    with at(host) as place, pytest.raises(BackendError, match=said):
        place.start(lambda x: x, [1])


def test_without_ssh_here_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with at("big1") as place, pytest.raises(BackendError, match="`ssh` cannot be run on this"):
        place.start(lambda x: x, [1])


def test_a_python_of_another_version_is_named_and_not_used(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 2.7\n")
    other.chmod(0o755)
    said = rf"big1 needs a Python {VERSION}.*{other}` is none \({other} is Python 2\.7\).*python=~/"
    with at("big1", python=str(other)) as place, pytest.raises(BackendError, match=said):
        place.start(lambda x: x, [1])


def test_packages_that_are_missing_there_are_listed_and_nothing_is_run(tmp_path: Path) -> None:
    import numpy as np

    command = [sys.executable, "-m", "venv", "--without-pip", "--symlinks", tmp_path / "bare"]
    subprocess.run(command, check=True)
    said = rf"numpy: {np.__version__} here, not installed on big1(.|\n)*Nothing was run"
    with at("big1", python=f"{tmp_path}/bare/bin/python") as place:
        with pytest.raises(PackagesDoNotFit, match=said):
            place.start(lambda x: np.float64(x), [1])
        assert place.map(lambda x: x + 1, [1]) == [2]


def test_code_in_a_folder_to_which_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    base = shared_server().home / "cache" / "cloudbutton" / "worker"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    base.chmod(0o777)
    try:
        with at("big1") as place, pytest.raises(BackendError, match=f"others can write to {base}"):
            place.start(lambda x: x, [1])
    finally:
        base.chmod(0o700)


def test_one_of_two_machines_that_cannot_be_reached_is_told_and_the_other_used() -> None:
    with at(["big1", "silent"]) as place:
        job = place.start(lambda x: x + 1, range(5))
        assert job.wait(30)
        assert job.results() == [1, 2, 3, 4, 5]
        (warning,) = job.progress.warnings
        assert warning.startswith("silent cannot be used") and "other machines" in warning


def test_without_a_machine_the_way_to_name_one_is_said() -> None:
    with at("") as place, pytest.raises(UsageError, match=r"%cloud use ssh alice@big1"):
        place.start(lambda x: x, [1])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hosts": "-oProxyCommand=x"}, "`-oProxyCommand=x` is no name of a machine"),
        ({"hosts": ["a b"]}, "`a b` is no name of a machine"),
        ({"hosts": "alice,@,big1"}, "`@` is no name of a machine"),
        ({"hosts": 3}, "`hosts` is 3; it must be text"),
        ({"workers": 0}, "between 1 and 256, not 0"),
        ({"grace": 0}, "1 seconds or more"),
        ({"variables": ["A"]}, "must be text"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SshSettings(**settings)


def test_machines_may_be_listed_or_written_with_commas() -> None:
    listed = SshSettings(hosts=["alice@big1", "big2"])
    assert listed == SshSettings(hosts="alice@big1, big2")
    assert listed.targets == ("alice@big1", "big2")


def test_the_doctor_looks_at_each_machine() -> None:
    settings = SshSettings(hosts="big1, silent", config=shared_server().config)
    backend = SshBackend(settings)
    first, second = backend.health()
    assert (first.name, first.is_well) == ("big1", True)
    assert f"Python {VERSION}" in first.detail and "CPUs" in first.detail
    assert (second.name, second.is_well) == ("silent", False)
    assert "Connection refused" in second.detail
    backend.close()
