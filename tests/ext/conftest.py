"""Two workers shared by the tests of this folder, and what tasks and scripts need to keep step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudbutton_backend import settings
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.session.session import Session

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(30))


@pytest.fixture(scope="package", autouse=True)
def session() -> Iterator[Session]:
    """This process's session while these tests run, so that `cloud.map` and the rest use it."""
    with pytest.MonkeyPatch.context() as patch:
        session = Session()
        patch.setattr(session_module, "_current", session)
        session.use("local", workers=2)
        assert session.warm_up("local", timeout=60.0)
        yield session
        session.close()
        settings.forget_used()


class Gate:
    """Holds tasks back until it is opened; works across processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def wait(self) -> None:
        """Wait (in a task) until the gate is open."""
        while not os.path.exists(self._path("open")):
            time.sleep(0.002)

    def open(self) -> None:
        open(self._path("open"), "w").close()

    def note(self, name: str) -> None:
        """Leave a mark (in a task)."""
        open(self._path(f"mark-{name}"), "w").close()

    def marks(self) -> set[str]:
        return {
            name.removeprefix("mark-")
            for name in os.listdir(self._folder)
            if name.startswith("mark-")
        }

    def await_marks(self, count: int) -> set[str]:
        """Wait until this many marks were left."""
        while len(self.marks()) < count:
            time.sleep(0.002)
        return self.marks()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    folder = tmp_path / "gate"
    folder.mkdir()
    gate = Gate(folder)
    yield gate
    gate.open()  # so that a failed test leaves no worker waiting


Script = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Script]:
    """Start an interpreter with the given arguments, in a folder and with a home of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, stdin: str | None = None) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_HOME": str(tmp_path / "home")},
            cwd=tmp_path, text=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
