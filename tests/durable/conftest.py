"""Two workers shared by the tests of this folder, and programs that are killed while their jobs run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend import settings
from cloudbutton_backend.errors import UnknownName
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.session import session as session_module
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage.home import home

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PATIENCE = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="package", autouse=True)
def session() -> Iterator[Session]:
    """This process's session while these tests run, so that `cloud.map` and the rest use it."""
    with pytest.MonkeyPatch.context() as patch:
        session = Session()
        patch.setattr(session_module, "_current", session)
        session.use("local", workers=2)
        yield session
        session.close()
        settings.forget_used()


def until(condition: Callable[[], Any]) -> Any:
    """Look until `condition` holds; return what it says."""
    limit = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.005)
    return value


def row_of(job_id: str) -> JobRow | None:
    try:
        return JournalReader(home()).job(job_id)
    except UnknownName:
        return None


PROGRAM = """
import os, sys, time
import cloudbutton_ext as cloud
folder, hold = sys.argv[1], int(sys.argv[2])

def is_open():
    return os.path.exists(os.path.join(folder, "open"))

def note(x):
    open(os.path.join(folder, f"run-{x}-{os.getpid()}-{time.monotonic_ns()}"), "w").close()

def await_gate(x):
    note(x)
    while x >= hold and not is_open():
        time.sleep(0.005)

"""


class Victim:
    """A program with a job whose items from `hold` on wait until the gate is opened."""

    def __init__(self, folder: Path, code: str, hold: int) -> None:
        self.folder = folder
        path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{PROGRAM}{code}\nprint(job.id, flush=True)\njob.wait()\n"
             "time.sleep(600)", str(folder), str(hold)],
            env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_WORKERS": "2"}, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.job_id = self.process.stdout.readline().strip()
        if not self.job_id:
            raise AssertionError(self.process.communicate()[1])

    def await_row(self, condition: Callable[[JobRow], Any]) -> JobRow:
        """Wait until the journal has the job as wanted."""

        def found() -> JobRow | None:
            row = row_of(self.job_id)
            return row if row is not None and condition(row) else None

        row: JobRow = until(found)
        return row

    def kill(self) -> None:
        """Kill the program, and wait until its workers have gone as well."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def killed_when(self, done: int) -> str:
        """Kill the program once this many items are done; return the job's id."""
        self.await_row(lambda row: row.done >= done)
        self.kill()
        row = row_of(self.job_id)
        assert row is not None and row.state is JobState.LOST
        return self.job_id

    def open(self) -> None:
        """Let all items run."""
        (self.folder / "open").touch()

    def runs(self) -> Counter[int]:
        """How often each item was begun."""
        names = (name.split("-") for name in os.listdir(self.folder) if name.startswith("run-"))
        return Counter(int(parts[1]) for parts in names)


Start = Callable[..., Victim]

SQUARES = """
def square(x):
    await_gate(x)
    return x * x
job = cloud.map(square, list(range(20)), name="squares")
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Start]:
    """Start a program with a job: its first `hold` items run, the others wait for the gate."""
    started: list[Victim] = []

    def start(code: str = SQUARES, hold: int = 10) -> Victim:
        folder = tmp_path / f"gate{len(started)}"
        folder.mkdir()
        started.append(Victim(folder, code, hold))
        return started[-1]

    yield start
    for each in started:
        each.open()
        each.process.kill()
        each.process.communicate()
