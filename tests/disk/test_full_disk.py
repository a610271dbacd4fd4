"""A job whose files may grow no further, in a process of its own: the system refuses as a full disk does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.journal import JournalReader
from tests.support.result_files import records_in

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits files of other processes")

#: Runs jobs before, while and after no file may grow beyond what it is.
SCRIPT = """
import json, os, resource, sys, time
import psutil
import cloudbutton_ext as cloud
from cloudbutton_backend.session.session import current

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def allow(nbytes):
    soft = HARD if nbytes is None else nbytes
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, HARD))

def small(number):
    return str(number) * 100

def large(number):
    return bytes([number]) * 200_000

def slow(number):
    time.sleep(0.1)
    return number

def run(function, name):
    job = cloud.map(function, range(8), workers=2, name=name)
    right = job.results() == [function(number) for number in range(8)]
    return {"id": job.id, "right": right, "warnings": list(job.progress.warnings)}

session = current()
session.use("local", workers=2)
assert session.warm_up("local", timeout=60)
said = {"before": run(small, "before")}
assert session.journal.flush(10)
allow(0)
held = cloud.map(large, range(8), workers=2, name="large")
said["large"] = {"id": held.id, "right": held.results() == [large(n) for n in range(8)],
                 "warnings": list(held.progress.warnings)}
said["small"] = run(small, "small")
said["flushed while full"] = session.journal.flush(10)
said["slow"] = run(slow, "slow")
said["journal"] = session.journal.warning
allow(None)
held._run_state.notes._file.try_again()
said["large, later"] = {"warnings": list(held.progress.warnings),
                        "right": held.results() == [large(n) for n in range(8)]}
session.journal.flush(30)
said["after"] = run(small, "after")
said["flushed"] = session.journal.flush(30)
said["journal, later"] = session.journal.trouble
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("full") / "home"


@pytest.fixture(scope="module")
def said(home: Path) -> dict[str, Any]:
    """What the script found, which ran once for all tests here."""
    path = os.pathsep.join(str(ROOT / part) for part in (".", "kernel_magic", "backend"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": path, "CLOUDBUTTON_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def items_on_disk(home: Path, job_id: str) -> set[int]:
    return {
        record.first + offset
        for path in (home / "results").glob(f"{job_id}*.seg")
        for record in records_in(path)
        for offset in range(record.count)
    }


@pytest.mark.parametrize("job", ["before", "large", "small", "slow", "after", "large, later"])
def test_every_result_is_right_whether_or_not_the_disk_takes_it(
    said: dict[str, Any], job: str
) -> None:
    assert said[job]["right"]


def test_it_is_said_what_is_in_memory_only(said: dict[str, Any]) -> None:
    assert said["before"]["warnings"] == said["after"]["warnings"] == []
    for job in ("large", "small"):
        (line,) = (line for line in said[job]["warnings"] if "In memory only" in line)
        assert "File too large" in line
        assert "In memory only: those of 8 items" in line


def test_a_job_that_could_not_be_continued_says_so(said: dict[str, Any]) -> None:
    (line,) = (line for line in said["slow"]["warnings"] if "attach" in line)
    assert "File too large" in line


def test_once_there_is_room_everything_is_on_the_disk(said: dict[str, Any], home: Path) -> None:
    assert items_on_disk(home, said["large"]["id"]) == set(range(8))
    assert items_on_disk(home, said["after"]["id"]) == set(range(8))
    assert "all are on it by now" in said["large, later"]["warnings"][0]


def test_what_was_on_the_disk_before_is_still_readable(said: dict[str, Any], home: Path) -> None:
    assert items_on_disk(home, said["before"]["id"]) == set(range(8))


def test_jobs_show_that_the_journal_cannot_be_written_as_long_as_it_cannot(
    said: dict[str, Any],
) -> None:
    assert any("journal.db cannot be written" in line for line in said["slow"]["warnings"])


def test_the_journal_says_that_it_cannot_be_written_and_catches_up(
    said: dict[str, Any], home: Path
) -> None:
    assert said["flushed while full"] is False
    assert "Jobs go on and lose nothing" in said["journal"]
    assert said["journal, later"] is None
    assert said["flushed"] is True
    rows = {row.name: row for row in JournalReader(home).jobs()}
    assert {name: rows[name].done for name in rows} == dict.fromkeys(
        ("before", "large", "small", "slow", "after"), 8
    )
