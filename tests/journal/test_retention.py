from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState
from cloudbutton_backend.journal import JournalReader, database, gc
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.retention import StoredJobSize, choose
from cloudbutton_backend.journal.tables import JournalTables
from cloudbutton_backend.session.session import Session
from tests.support.abandoned import abandon_finished_jobs

MakeJob = Callable[..., JobRecord]
NOW, DAY = 1_700_000_000.0, 86_400.0


def stored(job_id: str, age: float, size: int, state: JobState | None) -> StoredJobSize:
    return StoredJobSize(job_id=job_id, created=NOW - age, size=size, files=(), state=state)


DONE, RUNNING, LOST = JobState.DONE, JobState.RUNNING, JobState.LOST

CASES: dict[str, tuple[list[StoredJobSize], int, str]] = {
    "all fits": ([stored("a", 1, 10, DONE), stored("b", 2, 10, DONE)], 20, ""),
    "the oldest goes first": ([stored("a", 1, 10, DONE), stored("b", 2, 10, DONE)], 15, "b"),
    "as many as must": ([stored("a", 1, 10, DONE), stored("b", 2, 10, DONE)], 5, "ba"),
    "what runs stays": ([stored("a", 1, 10, DONE), stored("b", 2, 90, RUNNING)], 5, "a"),
    "lost ones stay": ([stored("a", 1, 10, DONE), stored("b", 2, 90, LOST)], 5, "a"),
    "what has no row stays": ([stored("a", 1, 10, DONE), stored("b", 2, 90, None)], 5, "a"),
    "no results, no gain": ([stored("a", 1, 10, DONE), stored("b", 2, 0, DONE)], 5, "a"),
    "age alone": ([stored("a", 40 * DAY, 1, DONE), stored("b", 1, 1, DONE)], 99, "a"),
    "age and lost": ([stored("a", 40 * DAY, 1, LOST)], 99, "a"),
    "age and no row": ([stored("a", 40 * DAY, 1, None)], 99, "a"),
    "age and running": ([stored("a", 40 * DAY, 1, RUNNING)], 0, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_has_to_go(case: str) -> None:
    jobs, max_bytes, expected = CASES[case]
    doomed = choose(jobs, max_bytes=max_bytes, max_age=30 * DAY, now=NOW)
    assert "".join(job.job_id for job in doomed) == expected


@pytest.mark.parametrize(
    ("age", "how", "goes"),
    [
        (9, {}, True),
        (9, {"is_held": True}, False),
        (40 * DAY, {"is_held": True}, False),
        (9, {"was_read": False}, False),
        (40 * DAY, {"was_read": False}, True),
    ],
)
def test_what_a_process_holds_or_nobody_has_read_yet_stays_however_large(
    age: float, how: dict[str, bool], goes: bool
) -> None:
    job = replace(stored("a", age, 10**12, DONE), **how)
    assert (choose([job], max_bytes=0, max_age=30 * DAY, now=NOW) == [job]) is goes


def test_a_job_counts_as_read_once_it_has_ended_and_its_results_were_taken(home: Path) -> None:
    with closing(Session(home)) as session:
        session.use("local", workers=1)
        jobs = [session.map(abs, range(3)) for _ in range(5)]
        for job in jobs:
            job.wait()
        jobs[1].results()
        jobs[2].partial()
        list(jobs[3].outcomes())
        list(jobs[4].as_completed())
        assert session.journal.flush(10)
        reader = JournalReader(home)
        assert [reader.job(job.id).was_read for job in jobs] == [False, *[True] * 4]


def test_a_job_with_more_results_than_are_kept_says_so_and_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDBUTTON_RESULTS_MAX_BYTES", "1 MB")
    with closing(Session(home)) as session:
        session.use("local", workers=1)
        job = session.map(lambda x: bytes([x]) * (40 << 20), range(2))
        job.wait()
        (line,) = job.progress.warnings
        assert "1.0 MB" in line and "`results_max_bytes`" in line
        assert session.journal.flush(10)
        assert gc(home, 10**6, 30 * DAY).jobs == ()
        assert [value[:1] for value in job.results()] == [b"\0", b"\1"]


def test_what_two_jobs_share_is_freed_with_the_second() -> None:
    one, two = (
        StoredJobSize(
            job_id=name, created=NOW - age, size=1, files=(), state=JobState.FAILED,
            blobs=frozenset({"shared"}),
        )
        for name, age in (("one", 2), ("two", 1))
    )  # fmt: skip
    sizes = {"shared": 100}
    chosen = choose([one, two], max_bytes=101, max_age=DAY, now=NOW, sizes=sizes)
    assert [job.job_id for job in chosen] == ["one"]
    chosen = choose([one, two], max_bytes=100, max_age=DAY, now=NOW, sizes=sizes)
    assert [job.job_id for job in chosen] == ["one", "two"]


def test_what_the_journal_has_of_a_job_counts() -> None:
    jobs = [
        StoredJobSize(
            job_id=name, created=NOW - age, size=0, rows=10, files=(), state=JobState.DONE
        )
        for name, age in (("old", 2), ("new", 1))
    ]
    assert [job.job_id for job in choose(jobs, max_bytes=10, max_age=DAY, now=NOW)] == ["old"]


STORED = st.builds(
    stored,
    st.uuids().map(str),
    st.floats(0, 100 * DAY),
    st.integers(0, 100),
    st.sampled_from([*JobState, None]),
)


@given(st.lists(STORED, max_size=20), st.integers(0, 500), st.floats(0, 100 * DAY))
def test_unfinished_jobs_stay_and_finished_ones_fit(
    jobs: list[StoredJobSize], max_bytes: int, max_age: float
) -> None:
    doomed = choose(jobs, max_bytes=max_bytes, max_age=max_age, now=NOW)
    assert all(job.state is None or job.state.is_final for job in doomed)
    kept = [job for job in jobs if job not in doomed]
    removable = [job for job in kept if job.state in (DONE, JobState.FAILED, JobState.CANCELLED)]
    assert sum(job.size for job in kept) <= max_bytes or not any(job.size for job in removable)
    assert all(NOW - job.created <= max_age for job in removable)


@pytest.fixture
def three_jobs(home: Path, clock: Any, a_job: MakeJob) -> None:
    """Two finished jobs and a running one, oldest first, with 1,000 bytes of results each."""
    store = JournalTables(home, clock=clock)
    (home / "results").mkdir()
    for age, job_id in ((300, "aaaaaaaa"), (200, "bbbbbbbb"), (100, "cccccccc")):
        batch = BatchRecord(job_id, 0, "w", 0, 1, 1.0, 2.0, "done")
        store.write([a_job(job_id, created=NOW - age), batch])
        if job_id != "cccccccc":
            store.write([ProgressUpdate(job_id, {"state": "done", "ended": NOW - age + 1})])
        for part in (0, 1):
            (home / "results" / f"{job_id}-{part}.seg").write_bytes(b"x" * 500)
    store.close()
    abandon_finished_jobs(home)


@pytest.mark.usefixtures("three_jobs")
def test_rows_and_files_of_a_removed_job_go_together(home: Path) -> None:
    freed = gc(
        home, 12_000, 30 * DAY, now=NOW
    )  # with about 4,000 for what the journal has of a job
    assert (freed.jobs, freed.files, freed.size, freed.kept) == (("aaaaaaaa",), 2, 1000, 2000)
    reader = JournalReader(home, clock=lambda: NOW)
    assert [job.id for job in reader.jobs()] == ["cccccccc", "bbbbbbbb"]
    assert (reader.batches("aaaaaaaa"), len(reader.batches("bbbbbbbb"))) == ([], 1)
    names = sorted(path.name for path in (home / "results").iterdir())
    assert names == [
        f"{job_id}-{part}.seg" for job_id in ("bbbbbbbb", "cccccccc") for part in (0, 1)
    ]


@pytest.mark.usefixtures("three_jobs")
def test_a_running_job_is_never_removed(home: Path) -> None:
    freed = gc(home, 0, 0.0, now=NOW)
    assert freed.jobs == ("aaaaaaaa", "bbbbbbbb")
    assert [job.id for job in JournalReader(home, clock=lambda: NOW).jobs()] == ["cccccccc"]
    assert len(list((home / "results").iterdir())) == 2


@pytest.mark.usefixtures("three_jobs")
def test_a_dry_run_says_the_same_and_removes_nothing(home: Path) -> None:
    dry = gc(home, 0, 30 * DAY, dry_run=True, now=NOW)
    assert len(list((home / "results").iterdir())) == 6
    assert dry == gc(home, 0, 30 * DAY, now=NOW)


@pytest.mark.usefixtures("three_jobs")
def test_files_of_a_job_that_has_no_row_yet_are_left_alone(home: Path) -> None:
    fresh = home / "results" / "dddddddd.seg"
    fresh.write_bytes(b"x")
    gc(home, 0, 0.0, now=fresh.stat().st_mtime + 60)
    assert fresh.exists()
    gc(home, 0, 0.0, now=fresh.stat().st_mtime + 3600)
    assert not fresh.exists()


@pytest.mark.usefixtures("three_jobs")
def test_what_was_used_again_counts_as_young(home: Path) -> None:
    os.utime(home / "results" / "aaaaaaaa-1.seg", (NOW - 10, NOW - 10))
    freed = gc(home, 12_000, 30 * DAY, now=NOW)
    assert freed.jobs == ("bbbbbbbb",)


def test_the_journal_becomes_smaller(home: Path, clock: Any, a_job: MakeJob) -> None:
    store = JournalTables(home, clock=clock)
    for number in range(100):
        job_id = f"job{number:05d}"
        store.write([a_job(job_id, source="x" * 20_000), ProgressUpdate(job_id, {"state": "done"})])
    store.close()
    abandon_finished_jobs(home)
    before = store.path.stat().st_size
    assert len(gc(home, 100_000, 30 * DAY, now=NOW).jobs) > 70
    assert store.path.stat().st_size < before / 2


@pytest.mark.usefixtures("three_jobs")
def test_allowances_outlive_their_jobs_for_some_days(home: Path) -> None:
    with closing(database.open_for_writing(home)[0]) as connection:
        for job_id, age in (("aaaaaaaa", 1), ("zzzzzzzz", 9)):
            connection.execute(
                "INSERT INTO allowances VALUES (?, '2023-11-14', ?, 1.0, 1)",
                (job_id, NOW - age * DAY),
            )
    gc(home, 0, 30 * DAY, now=NOW)
    with closing(database.open_for_writing(home)[0]) as connection:
        left = [row["job_id"] for row in connection.execute("SELECT job_id FROM allowances")]
    assert left == ["aaaaaaaa"]


@pytest.mark.usefixtures("three_jobs")
def test_other_files_among_the_results_are_left_alone(home: Path) -> None:
    note = home / "results" / "README.txt"
    note.write_text("mine")
    gc(home, 0, 0.0, now=NOW)
    assert note.exists()


def test_an_empty_home_has_nothing_to_free(home: Path) -> None:
    assert gc(home, 0, 0.0, now=NOW).jobs == ()
