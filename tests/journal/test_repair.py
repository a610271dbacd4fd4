"""What can be read of a damaged journal is in the one that takes its place; the damaged one stays."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobRecord
from cloudbutton_backend.journal import ErrorRecord, JournalReader, LogRecord, database
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.repair import salvage
from cloudbutton_backend.journal.tables import JournalTables

MakeJob = Callable[..., JobRecord]
JOBS = [f"job{number:05d}" for number in range(300)]
PAGE = 4096


@pytest.fixture
def written(home: Path, a_job: MakeJob, clock: Any) -> Path:
    """A journal with many jobs, each with a batch, an error and a line; all of it in the one file."""
    store = JournalTables(home, clock=clock)
    store.write(
        entry
        for number, job_id in enumerate(JOBS)
        for entry in (
            a_job(job_id, source=f"code of {job_id} " * 10, options={"retries": number}),
            ProgressUpdate(job_id, {"state": "done", "done": number}),
            BatchRecord(job_id, 0, "local-1", 0, number, 1.0, 2.0, "done"),
            ErrorRecord(job_id, 3, "3", "ValueError", f"no {number}"),
            LogRecord(job_id, f"line of {job_id}\n"),
        )
    )
    store.close()
    return store.path


def damage(path: Path, pages: list[int]) -> bytes:
    """Overwrite pages with what no database has there; return the file as it is then."""
    data = bytearray(path.read_bytes())
    for page in pages:
        data[page * PAGE : (page + 1) * PAGE] = b"\xaa" * PAGE
    path.write_bytes(data)
    return bytes(data)


def assert_true_to(home: Path, ids: set[str]) -> None:
    """Whatever was saved is as it was written."""
    reader = JournalReader(home)
    jobs = reader.jobs(limit=-1)
    assert {job.id for job in jobs} == ids
    for job in jobs:
        number = JOBS.index(job.id)
        assert (job.done, job.options) == (number, {"retries": number})
        assert [batch.count for batch in reader.batches(job.id)] in ([], [number])
        assert [error.message for error in reader.errors(job.id)] in ([], [f"no {number}"])
        assert [log.text for log in reader.log(job.id)] in ([], [f"line of {job.id}\n"])


def test_the_jobs_around_the_damage_are_in_the_new_journal(home: Path, written: Path) -> None:
    n_pages = written.stat().st_size // PAGE
    damaged = damage(written, [n_pages // 2])
    kept = database.move_aside(
        written, "corrupt", "is damaged (by a test)", found=database.inode(written)
    )
    assert kept is not None
    connection, notice = database.open_for_writing(home, kept=kept)
    connection.close()
    saved = {job.id for job in JournalReader(home).jobs(limit=-1)}
    assert len(saved) > len(JOBS) // 2
    assert f"{kept.path.name} and a new one begun, with {len(saved)} of its jobs" in (notice or "")
    assert kept.path.read_bytes() == damaged
    assert_true_to(home, saved)
    assert sorted(path.name for path in home.glob(".salvage*")) == []


@pytest.mark.parametrize("seed", range(12))
def test_wherever_the_damage_is_what_was_saved_is_true(
    home: Path, written: Path, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    n_pages = written.stat().st_size // PAGE
    damage(written, draw.sample(range(n_pages), draw.randint(1, 6)))
    kept = written.rename(home / "journal.db.corrupt-20261121-000000")
    with closing(database.open_for_writing(home)[0]) as connection:
        saved = salvage(kept, connection)
    jobs = {job.id for job in JournalReader(home).jobs(limit=-1)}
    assert len(jobs) == saved
    assert_true_to(home, jobs)


def test_a_file_that_is_no_database_gives_no_jobs_and_stays(home: Path) -> None:
    path = home / database.NAME
    path.write_bytes(b"no database at all" * 500)
    connection, notice = database.open_for_writing(home)
    connection.close()
    assert "a new one begun, without its jobs" in (notice or "")
    assert [each.read_bytes() for each in home.glob("journal.db.corrupt-*")] == [
        b"no database at all" * 500
    ]


def test_a_row_that_makes_no_sense_is_left_behind(home: Path, written: Path) -> None:
    with closing(sqlite3.connect(written)) as connection:
        connection.execute("UPDATE jobs SET options = 'no JSON' WHERE id = 'job00001'")
        connection.execute("UPDATE jobs SET state = 'melted' WHERE id = 'job00002'")
        connection.execute("UPDATE jobs SET created = 'noon' WHERE id = 'job00003'")
        connection.commit()
    kept = written.rename(home / "journal.db.corrupt-20261121-000000")
    with closing(database.open_for_writing(home)[0]) as connection:
        assert salvage(kept, connection) == len(JOBS) - 3
    assert_true_to(home, set(JOBS) - {"job00001", "job00002", "job00003"})


def test_what_another_process_wrote_meanwhile_counts(
    home: Path, written: Path, a_job: MakeJob, clock: Any
) -> None:
    kept = written.rename(home / "journal.db.corrupt-20261121-000000")
    other = JournalTables(home, clock=clock)
    other.write([a_job("job00007"), ProgressUpdate("job00007", {"done": 9_999})])
    with closing(database.open_for_writing(home)[0]) as connection:
        salvage(kept, connection)
    other.close()
    assert JournalReader(home).job("job00007").done == 9_999
    assert JournalReader(home).job("job00008").done == 8


def test_a_journal_of_an_older_version_is_saved_with_what_it_has(home: Path) -> None:
    kept = home / "journal.db.corrupt-20261121-000000"
    with closing(sqlite3.connect(kept)) as old:
        old.executescript((Path(__file__).parent / "versions" / "1.sql").read_text())
    with closing(database.open_for_writing(home)[0]) as connection:
        assert salvage(kept, connection) == 1
    job = JournalReader(home).job("abcd2345")
    assert (job.done, job.cached, [b.count for b in JournalReader(home).batches(job.id)]) == (
        10, 0, [10],
    )  # fmt: skip
