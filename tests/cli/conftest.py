"""A home with jobs in it, and the command run on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudbutton_backend.job_model import JobRecord
from cloudbutton_backend.journal import Journal
from cloudbutton_ext.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("CLOUDBUTTON_HOME", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def journal(home: Path) -> Iterator[Journal]:
    journal = Journal.open()
    yield journal
    journal.close()


@pytest.fixture
def a_job() -> Callable[[str, float], JobRecord]:
    def make(job_id: str, created: float) -> JobRecord:
        return JobRecord(
            id=job_id, name="scores", kind="map", backend="local", n_items=200, created=created,
            pid=os.getpid(), host=socket.gethostname(), notebook="fits.ipynb", source="fit(x)\n",
        )  # fmt: skip

    return make


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def cloudbutton(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def run(*arguments: str) -> Answer:
        try:
            code = main.main(arguments)
        except SystemExit as end:  # argparse ends the process itself
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def a_kernel(home: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that runs job `kernel22` and obeys commands as `body` says."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
        process = subprocess.Popen(
            [sys.executable, "-c", KERNEL + body],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


KERNEL = """
import os, socket, sys, time
from cloudbutton_backend.job_model import JobRecord
from cloudbutton_backend.journal import Journal

journal = Journal.open()
journal.add_job(JobRecord(id="kernel22", name="scores", kind="map", backend="local", n_items=200,
                          created=time.time(), pid=os.getpid(), host=socket.gethostname()))
journal.update_job("kernel22", done=120)
journal.flush(30)

def obey(command):
    ends = {"cancel": "cancelled", "retry": "running"}
    journal.update_job(command.job_id, state=ends[command.verb])

def ready():
    print("ready", flush=True)
    input()
"""
