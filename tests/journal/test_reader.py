from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.errors import JournalError, UnknownName, UsageError
from cloudbutton_backend.job_model import BatchRecord, Estimate, JobRecord, JobState, Progress
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_backend.journal.records import ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables

MakeJob = Callable[..., JobRecord]


@pytest.fixture
def store(home: Path, clock: Any) -> Iterator[JournalTables]:
    store = JournalTables(home, clock=clock)
    yield store
    store.close()


@pytest.fixture
def reader(home: Path, clock: Any) -> JournalReader:
    return JournalReader(home, clock=clock)


#: id, age, state, notebook; the last runs on a machine that has been silent for a minute.
JOBS = [
    ("aaaaaaaa", 5, "done", "one.ipynb"),
    ("abbbbbbb", 4, "failed", "one.ipynb"),
    ("cccccccc", 3, "running", "two.ipynb"),
    ("dddddddd", 2, "cancelled", None),
    ("eeeeeeee", 1, "running", None),
]


@pytest.fixture
def five_jobs(store: JournalTables, clock: Any, a_job: MakeJob) -> None:
    now = clock.now
    for job_id, age, state, notebook in JOBS:
        host = {"host": "elsewhere"} if job_id == "eeeeeeee" else {}
        clock.now = now - 60
        store.write([
            a_job(job_id, created=now - 60 * age, notebook=notebook, **host),
            ProgressUpdate(job_id, {"state": state}),
        ])  # fmt: skip
    clock.now = now


def initials(rows: list[JobRow]) -> str:
    return "".join(row.id[0] for row in rows)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({}, "edcaa"),
        ({"limit": 2}, "ed"),
        ({"limit": 2, "offset": 1}, "dc"),
        ({"limit": -1}, "edcaa"),
        ({"state": "done"}, "a"),
        ({"state": JobState.RUNNING}, "c"),
        ({"state": "lost"}, "e"),
        ({"state": "lost", "offset": 1}, ""),
        ({"state": "cancelling"}, ""),
        ({"notebook": "one.ipynb"}, "aa"),
        ({"notebook": "two.ipynb", "state": "running"}, "c"),
        ({"notebook": "three.ipynb"}, ""),
    ],
)
@pytest.mark.usefixtures("five_jobs")
def test_jobs_are_listed_the_latest_first(
    reader: JournalReader, question: dict[str, Any], expected: str
) -> None:
    assert initials(reader.jobs(**question)) == expected


@pytest.mark.usefixtures("five_jobs")
@pytest.mark.parametrize("prefix", ["aaaaaaaa", "aa", "AA", " aa "])
def test_a_job_is_found_by_the_beginning_of_its_id(reader: JournalReader, prefix: str) -> None:
    assert reader.job(prefix).id == "aaaaaaaa"


@pytest.mark.usefixtures("five_jobs")
def test_an_id_that_fits_several_jobs_asks_for_more(reader: JournalReader) -> None:
    with pytest.raises(UsageError, match=r"`a` begins the ids of 2 jobs: abbbbbbb .*, aaaaaaaa"):
        reader.job("a")


@pytest.mark.usefixtures("five_jobs")
def test_an_unknown_id_suggests_the_nearest(reader: JournalReader) -> None:
    with pytest.raises(UnknownName, match="Did you mean `cccccccc`"):
        reader.job("cccccccx")
    with pytest.raises(UnknownName, match="Known: eeeeeeee, dddddddd"):
        reader.job("zzzz")


@pytest.mark.parametrize("wild", ["%", "_", "a%", "", "'; DROP TABLE jobs; --"])
@pytest.mark.usefixtures("five_jobs")
def test_an_id_is_text_and_no_pattern(reader: JournalReader, wild: str) -> None:
    with pytest.raises(UsageError):
        reader.job(wild)
    assert len(reader.jobs()) == len(JOBS)


def test_an_unknown_state_names_the_known_ones(reader: JournalReader) -> None:
    with pytest.raises(UnknownName, match="Did you mean `running`"):
        reader.jobs(state="runing")


def test_batches_come_as_they_ended(
    store: JournalTables, reader: JournalReader, a_job: MakeJob
) -> None:
    ended = [
        BatchRecord("aaaaaaaa", 1, "worker-2", 5, 5, 1.0, 2.5, "lost", attempt=1),
        BatchRecord(
            "aaaaaaaa", 0, "worker-1", 0, 5, 1.0, 3.0, "done", failed=1, cpu=1.5, memory_peak=9,
            cost=0.25,
        ),
        BatchRecord("aaaaaaaa", 1, "worker-1", 5, 5, 3.0, 4.0, "done", attempt=2),
    ]  # fmt: skip
    store.write([a_job("aaaaaaaa"), *ended])
    assert reader.batches("aaaaaaaa") == ended


def test_how_far_a_job_is_can_be_told_from_its_row(
    store: JournalTables, reader: JournalReader, a_job: MakeJob, clock: Any
) -> None:
    said = Progress(
        job_id="aaaaaaaa", name="scores", backend="lambda", emulated=True, state=JobState.RUNNING,
        total=10, done=4, failed=1, running=2, workers=2, elapsed=3.0, task_seconds=5.0,
        waited=0.25, spend=0.5, at_most=True,
        expected_spend=1.5, committed=0.25, budget=2.0, estimate=Estimate(1.0, 0.5, 2.0, "a guess"),
        cached=3, continues=True, retried=1, lost_workers=1, first_error="ValueError: no",
        warnings=("careful",),
    )  # fmt: skip
    fields = {
        "backend": "lambda",
        "emulated": True,
        "estimate": 1.0,
        "estimate_low": 0.5,
        "estimate_high": 2.0,
    }
    record = a_job(
        "aaaaaaaa",
        created=clock.now - 3.0,
        estimate_basis="a guess",
        options={"budget": 2.0, "continues": "bbbbbbbb"},
        **fields,
    )
    store.write([record, said])
    told = reader.job("aaaaaaaa").progress(clock.now)
    assert told == said
    defaults = {each.name: each.default for each in dataclasses.fields(Progress)}
    same = {name for name, default in defaults.items() if getattr(told, name) == default}
    assert same == {"last_lines"}, "a field that the journal forgets?"


def test_a_lost_jobs_time_ends_with_its_last_sign_of_life(a_job: MakeJob) -> None:
    row = JobRow(**vars(a_job(created=100.0)), state=JobState.LOST, heartbeat=107.0)
    assert row.elapsed(now=5000.0) == 7.0


def test_where_nothing_was_recorded_there_is_nothing_to_read(reader: JournalReader) -> None:
    assert reader.jobs() == []
    assert reader.log("aaaaaaaa") == []
    with pytest.raises(UnknownName, match="Known: none"):
        reader.job("aaaaaaaa")
    with pytest.raises(JournalError, match="No job has been recorded"):
        reader.send("aaaaaaaa", "cancel")
