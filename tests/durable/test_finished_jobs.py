"""A job whose results are all there is done, whatever its process came to write of that."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import JobFailed
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage import job_paths
from cloudbutton_backend.storage.home import home

from .conftest import ROOT, Start, row_of, until

SQUARED = [x * x for x in range(20)]

ITEMS = {
    "a list": "range(20)",
    "a generator": "(x for x in range(20))",
    "nothing": "[]",
    "large results": "range(20)",
    "longer than a tenth of a second": "range(20)",
}
PROGRAM = """
import os, signal, time
import cloudbutton_ext as cloud

def square(x):
    time.sleep({seconds})
    return x * x if {nbytes} == 1 else bytes([x]) * {nbytes}

job = cloud.map(square, {items})
job.wait()
print(job.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("shape", ITEMS)
def test_a_kernel_may_die_as_soon_as_its_job_is_done(shape: str) -> None:
    nbytes = 100_000 if shape == "large results" else 1
    seconds = 0.03 if shape.startswith("longer") else 0.0
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    program = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.format(items=ITEMS[shape], nbytes=nbytes, seconds=seconds),
        ],
        check=False,
        env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_WORKERS": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert program.returncode == -signal.SIGKILL, program.stderr
    job_id = program.stdout.strip()
    expected = SQUARED if nbytes == 1 else [bytes([x]) * nbytes for x in range(20)]
    job = cloud.attach(job_id)
    assert job.results() == (expected if shape != "nothing" else [])
    assert job.state is JobState.DONE
    row = row_of(job_id)
    assert row is None or row.state is JobState.DONE


@pytest.mark.parametrize("state", ["running", "cancelling", "cancelled", "failed"])
def test_whatever_its_row_says(victim: Start, state: str) -> None:
    program = victim(hold=20)
    program.await_row(lambda row: row.state is JobState.DONE)
    program.kill()
    job_paths.remove_files(home(), program.job_id)
    with closing(sqlite3.connect(home() / "journal.db")) as journal, journal:
        journal.execute(
            "UPDATE jobs SET state = ?, ended = NULL, done = 3 WHERE id = ?",
            (state, program.job_id),
        )
    with closing(Session()) as session:
        assert session.attach(program.job_id).results() == SQUARED
    row = row_of(program.job_id)
    assert row is not None and (row.state, row.done, row.n_items) == (JobState.DONE, 20, 20)


SLOW = """
def square(x):
    await_gate(x)
    time.sleep(0.03)
    return x * x
job = cloud.map(square, list(range(20)))
"""


def damaged(job_id: str) -> Path:
    """Change a byte of the first result of a job that is done."""
    (path,) = (home() / "results").glob(f"{job_id}.seg")
    data = bytearray(path.read_bytes())
    data[66] ^= 0xFF
    path.write_bytes(data)
    return path


def test_damaged_results_of_a_job_that_was_done_run_again(victim: Start) -> None:
    program = victim(SLOW, hold=20)
    program.await_row(lambda row: row.state is JobState.DONE)
    until(job_paths.items_file(home(), program.job_id).exists)
    program.kill()
    path = damaged(program.job_id)
    before = program.runs()
    with closing(Session()) as session:
        job = session.attach(program.job_id)
        assert job.results() == SQUARED
        assert any(str(path) in line for line in job.progress.warnings)
    again = program.runs() - before
    assert again and max(again.values()) == 1
    with closing(Session()) as session:
        assert session.attach(program.job_id).results() == SQUARED
    assert program.runs() - before == again


def test_damaged_results_that_cannot_run_again_are_named_with_their_file(victim: Start) -> None:
    program = victim(hold=20)
    program.await_row(lambda row: row.state is JobState.DONE)
    program.kill()
    job_paths.remove_files(home(), program.job_id)
    path = damaged(program.job_id)
    with closing(Session()) as session:
        job = session.attach(program.job_id)
        with pytest.raises(JobFailed, match=f"(?s)items? 0.*{path.name}"):
            job.results()
