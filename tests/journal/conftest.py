"""Jobs to record, and a home to record them in."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import JobRecord
from cloudbutton_backend.journal import Journal

ROOT = Path(__file__).resolve().parents[2]

#: Where every controlled clock starts: late enough to be a plausible Unix time.
NOON = 1_700_000_000.0


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def journal(home: Path) -> Iterator[Journal]:
    journal = Journal.open(home)
    yield journal
    journal.close()


@pytest.fixture
def a_job() -> Callable[..., JobRecord]:
    def make(job_id: str = "abcd2345", **changes: Any) -> JobRecord:
        fields: dict[str, Any] = {
            "name": "scores", "kind": "map", "backend": "local", "n_items": 10, "created": NOON,
            "pid": os.getpid(), "host": socket.gethostname(),
        }  # fmt: skip
        return JobRecord(id=job_id, **(fields | changes))

    return make


@pytest.fixture
def start_python(home: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start another Python process that has `journal`, `a_job` and `say`; it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE.format(home=str(home)) + body],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


PRELUDE = """
import os, socket, sys, time
from pathlib import Path
from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, Journal, JournalReader, LogRecord

home = Path({home!r})

def a_job(job_id):
    return JobRecord(id=job_id, name="scores", kind="map", backend="local", n_items=10,
                     created=time.time(), pid=os.getpid(), host=socket.gethostname())

def say(*words):
    print(*words, flush=True)
"""
