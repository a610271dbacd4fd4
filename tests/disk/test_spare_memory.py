"""A job whose results a full disk has held in memory is stopped before the system kills its kernel."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend.errors import JobFailed
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.results import result_file
from cloudbutton_backend.results.result_file import ResultFile, spare_memory
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.worker.batch_meta import BatchMeta

MB = 1 << 20


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   4096 kB\n"}


def group(name: str, limit: str, used: int, files: int) -> dict[str, str]:
    base = f"sys/fs/cgroup/{name}".rstrip("/")
    return {
        f"{base}/memory.max": f"{limit}\n",
        f"{base}/memory.current": f"{used}\n",
        f"{base}/memory.stat": f"anon 1\ninactive_file {files}\n",
    }


INSIDE = {"proc/self/cgroup": "0::/user/kernel\n"}
CASES: dict[str, tuple[dict[str, str], int | None]] = {
    "nothing known": ({}, None),
    "the machine": (MEMINFO, 4 * MB),
    "no limit": (MEMINFO | INSIDE | group("user/kernel", "max", 9, 0), 4 * MB),
    "a group": (MEMINFO | INSIDE | group("user/kernel", f"{3 * MB}", 2 * MB, 0), MB),
    "with files to let go": (
        MEMINFO | INSIDE | group("user/kernel", f"{3 * MB}", 2 * MB, MB),
        2 * MB,
    ),
    "a group around it": (MEMINFO | INSIDE | group("user", f"{2 * MB}", MB, 0), MB),
    "more used than allowed": (MEMINFO | INSIDE | group("user", f"{MB}", 2 * MB, 0), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left_is_the_least_that_anybody_has(tmp_path: Path, case: str) -> None:
    files, expected = CASES[case]
    assert spare_memory(machine(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("held", "spare", "is_short"),
    [
        (63 * MB, 0, False),
        (65 * MB, 0, True),
        (65 * MB, 199 * MB, True),
        (65 * MB, 201 * MB, False),
        (65 * MB, None, False),
        (2_000 * MB, 400 * MB, True),
        (2_000 * MB, 600 * MB, False),
    ],
)
def test_memory_is_short_when_little_is_left_for_what_is_held(
    tmp_path: Path, held: int, spare: int | None, is_short: bool
) -> None:
    (tmp_path / "results").touch()  # a file where the directory should be: the disk refuses
    file = ResultFile(
        tmp_path / "results" / "abcd2345.seg",
        lambda path: None,
        lambda: None,
        b"",
        spare=lambda: spare,
    )
    file.write(0, ResultRecord(0, 1, BatchMeta(), b"said to be longer", None, 0, held))
    why = file.memory_is_short()
    assert (why is not None) == is_short
    if why is not None:
        assert "held in memory" in why


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(result_file, "spare_memory", lambda: 100 * MB)
    session = Session(tmp_path / "home")
    session.use("local", workers=1)
    yield session
    session.close()


def test_a_job_is_stopped_with_what_it_has_and_goes_on_once_there_is_room(
    session: Session, tmp_path: Path
) -> None:
    results = session.journal.home / "results"
    shutil.rmtree(results)
    results.touch()
    gate = str(tmp_path / "gate")

    def task(number: int) -> bytes:
        deadline = time.monotonic() + 30
        while number == 9 and not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.005)
        return bytes([number]) * (16 << 20)

    job = session.map(task, range(10))
    assert job.wait(60)
    assert job.state is JobState.FAILED
    with pytest.raises(JobFailed, match=r"held in memory.*`job\.retry_failed\(\)` goes on"):
        job.results()
    kept = job.partial()
    assert 4 <= len(kept) < 10
    assert all(value == task(number) for number, value in kept.items() if number != 9)
    results.unlink()
    open(gate, "w").close()
    assert job.retry_failed().results() == [task(number) for number in range(10)]
