"""What jobs share is kept as long as it may be needed, and no longer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloudbutton_backend.durable import job_file
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.session.cleanup import clean_up
from cloudbutton_backend.session.session import Session
from tests.support.abandoned import abandon_finished_jobs

DAY = 86_400.0
PLENTY = 10**12


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    session = Session(home)
    session.use("local", workers=1)
    yield session
    session.close()


def unfinished(session: Session, gate: Path) -> Any:
    """Run a job with a large captured value until it has written what it needs to be continued."""
    large = np.arange(100_000)

    def task(number: int) -> int:
        deadline = time.monotonic() + 30
        while number and not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.005)
        if number:
            raise ValueError(number)
        return int(large[number])

    job = session.map(task, range(2), options=JobOptions(errors="keep"))
    assert session.journal.flush(10)
    path = session.journal.home / "jobs" / f"{job.id}.job"
    until(path.exists)
    return job


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert condition()


def blobs(home: Path) -> list[Path]:
    return [path for path in (home / "blobs").iterdir() if not path.name.startswith(".")]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_running_job_keeps_what_it_needs_however_old_and_large(
    session: Session, home: Path, tmp_path: Path
) -> None:
    job = unfinished(session, tmp_path / "gate")
    for path in [*blobs(home), *(home / "jobs").iterdir()]:
        age(path, 99 * DAY)
    assert clean_up(home, 0, 1.0).blobs == 0
    assert job_file.load_blob(home, job_file.load(home, job.id).blobs[0])
    (tmp_path / "gate").touch()
    job.wait(30)


def test_with_a_failed_job_goes_all_that_only_it_needs(
    session: Session, home: Path, tmp_path: Path
) -> None:
    job = unfinished(session, tmp_path / "gate")
    (tmp_path / "gate").touch()
    assert job.wait(30) and job.state is JobState.FAILED
    assert session.journal.flush(10)
    (blob,) = blobs(home)
    age(blob, 3600)
    abandon_finished_jobs(home)
    dry = clean_up(home, 0, 30 * DAY, dry_run=True)
    assert blob.exists() and (home / "jobs" / f"{job.id}.job").exists()
    gone = clean_up(home, 0, 30 * DAY)
    assert (gone.jobs, gone.blobs) == (dry.jobs, dry.blobs) == ((job.id,), 1)
    assert gone.size == dry.size > 800_000
    assert blobs(home) == [] and list((home / "jobs").iterdir()) == []
    assert JournalReader(home).jobs() == []


@pytest.fixture
def blob(home: Path) -> Path:
    """A captured value that no job names, long unused."""
    (home / "blobs").mkdir(mode=0o700)
    path = home / "blobs" / "0123abcd"
    path.write_bytes(b"x" * 100)
    age(path, 3600)
    return path


def test_a_value_that_no_job_names_goes(home: Path, blob: Path) -> None:
    gone = clean_up(home, PLENTY, 30 * DAY)
    assert (gone.blobs, gone.size, gone.kept) == (1, 100, 0)
    assert not blob.exists()


def test_a_value_that_a_job_may_be_about_to_name_stays(home: Path, blob: Path) -> None:
    age(blob, 60)
    assert clean_up(home, 0, 30 * DAY).blobs == 0
    assert blob.exists()


def test_a_value_that_a_job_touches_at_the_last_moment_stays(
    home: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def touched_just_before(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        os.utime(path)  # as `stored.save_blob` does in another process
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", touched_just_before)
    assert clean_up(home, 0, 30 * DAY).blobs == 0
    assert blob.read_bytes() == b"x" * 100


def test_while_a_jobs_file_cannot_be_read_nothing_that_it_may_name_goes(
    home: Path, blob: Path
) -> None:
    (home / "jobs").mkdir(mode=0o700)
    (home / "jobs" / "abcd2345.job").write_bytes(b"of a later version")
    assert clean_up(home, 0, 30 * DAY).blobs == 0
    age(blob, 31 * DAY)
    assert clean_up(home, 0, 30 * DAY).blobs == 1


def test_pieces_of_files_go_after_a_day_and_others_stay(home: Path) -> None:
    (home / "results").mkdir()
    old, young = home / "results" / ".a.seg-1", home / "results" / ".b.seg-2"
    folder, kept = home / ".salvage-1", home / "journal.db.corrupt-20200101-000000"
    folder.mkdir()
    for path in (old, young, folder / "journal.db", kept):
        path.write_bytes(b"x")
    for path in (old, folder, kept):
        age(path, 2 * DAY)
    clean_up(home, 0, 1.0)
    assert [path.exists() for path in (old, young, folder, kept)] == [False, True, False, True]


def test_with_a_journal_that_cannot_be_used_nothing_is_removed(home: Path, blob: Path) -> None:
    (home / "journal.db").write_bytes(b"no database at all" * 300)
    (home / "results").mkdir()
    (home / "results" / "abcd2345.seg").write_bytes(b"x")
    age(home / "results" / "abcd2345.seg", 99 * DAY)
    with pytest.raises(JournalError, match="cannot be used"):
        clean_up(home, 0, 1.0)
    assert blob.exists()
    assert (home / "results" / "abcd2345.seg").exists()


def test_a_home_that_was_never_used_is_tidy(home: Path) -> None:
    assert clean_up(home, 0, 0.0).jobs == ()


def test_jobs_start_and_end_unharmed_while_everything_finished_is_removed(
    session: Session, home: Path
) -> None:
    over = threading.Event()
    trouble: list[BaseException] = []

    def tidy_all_the_time() -> None:
        while not over.wait(0.001):
            try:
                clean_up(home, 0, 0.001)
            except BaseException as error:
                trouble.append(error)
                return

    thread = threading.Thread(target=tidy_all_the_time)
    thread.start()
    try:
        for round_ in range(15):
            large = np.full(20_000, round_)
            job = session.map(lambda n, large=large: int(large[n]) + n, range(30))
            assert job.results() == [round_ + n for n in range(30)]
    finally:
        over.set()
        thread.join(30)
    assert trouble == []
