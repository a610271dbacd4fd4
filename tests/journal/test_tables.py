from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_backend.job_model import BatchRecord, JobRecord, JobState, Progress
from cloudbutton_backend.journal import ErrorRecord, JournalReader, LogRecord
from cloudbutton_backend.journal.records import ClearErrors, ProgressUpdate
from cloudbutton_backend.journal.tables import JournalTables
from cloudbutton_backend.journal.write_batch import MAX_ERRORS, MAX_LOG_CHARS, shrink

MakeJob = Callable[..., JobRecord]
NOON = 1_700_000_000.0


def a_store(home: Path, clock: Callable[[], float]) -> JournalTables:
    return JournalTables(home, clock=clock)


def batch(job_id: str, number: int = 0) -> BatchRecord:
    return BatchRecord(job_id, number, "worker-1", number, 1, NOON, NOON + 1, "done")


def error(job_id: str, index: int, message: str = "no") -> ErrorRecord:
    return ErrorRecord(job_id, index, f"item {index}", "ValueError", message, "Traceback …")


def everything(home: Path) -> Any:
    reader = JournalReader(home, clock=lambda: NOON)
    return [
        (
            dataclasses.replace(job, changed=0, errors_changed=0),
            reader.batches(job.id),
            reader.errors(job.id),
            "".join(log.text for log in reader.log(job.id)),
        )
        for job in reader.jobs()
    ]


def test_a_job_is_read_as_it_was_recorded(
    home: Path, clock: Callable[[], float], a_job: MakeJob
) -> None:
    job = a_job(
        seed=2**64 - 1, options={"retries": 2}, capture={"values": [{"name": "X"}]},
        notebook="a.ipynb", source="fit(x)",
    )  # fmt: skip
    store = a_store(home, clock)
    store.write([job])
    store.close()
    row = JournalReader(home, clock=clock).job(job.id)
    assert {name: getattr(row, name) for name in JobRecord.__dataclass_fields__} == {
        name: getattr(job, name) for name in JobRecord.__dataclass_fields__
    }
    assert (row.state, row.done, row.heartbeat) == (JobState.RUNNING, 0, NOON)


JOBS = ("aaaaaaaa", "bbbbbbbb")
IDS = st.sampled_from(JOBS)
STATES = st.sampled_from([state for state in JobState if state is not JobState.LOST])
ENTRIES = st.one_of(
    st.builds(lambda key, state: ProgressUpdate(key, {"state": state}), IDS, STATES),
    st.builds(lambda key, n: ProgressUpdate(key, {"done": n, "ended": float(n)}), IDS, st.integers(0, 9)),
    st.builds(
        lambda key, state, n: Progress(
            job_id=key, name="n", backend="local", state=state, total=10, done=n, failed=0,
            running=1, workers=2, elapsed=1.0, task_seconds=2.0, warnings=("slow",),
        ),
        IDS, STATES, st.integers(0, 9),
    ),
    st.builds(batch, IDS, st.integers(0, 9)),
    st.builds(error, IDS, st.integers(0, 3), st.text(max_size=3)),
    st.builds(ClearErrors, IDS),
    st.builds(lambda key, text, item: LogRecord(key, text, item), IDS, st.text(max_size=4),
              st.sampled_from([None, 1, 2])),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=12), cuts=st.sets(st.integers(0, 12)))
def test_where_transactions_are_cut_makes_no_difference(entries: list[Any], cuts: set[int]) -> None:
    jobs = [
        JobRecord(id=key, name="n", kind="map", backend="local", n_items=None, created=NOON + n,
                  pid=os.getpid(), host="h")
        for n, key in enumerate(JOBS)
    ]  # fmt: skip
    written: list[Any] = [*jobs, *entries]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        once, often = (JournalTables(Path(each), clock=lambda: NOON) for each in (one, other))
        once.write(written)
        start = 0
        for cut in [*sorted(2 + c for c in cuts if c <= len(entries)), len(written)]:
            often.write(written[start:cut])
            start = cut
        assert once.has_live_jobs == often.has_live_jobs
        once.close()
        often.close()
        assert everything(Path(one)) == everything(Path(other))


def test_errors_and_printed_output_are_bounded(
    home: Path, clock: Callable[[], float], a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa"), *(error("aaaaaaaa", n) for n in range(90))])
    for start in (90, 180):
        store.write([error("aaaaaaaa", n) for n in range(start, start + 90)])
        store.write([LogRecord("aaaaaaaa", f"{start} " + "x" * 50_000 + f" {start}\n", start)])
    store.write([LogRecord("aaaaaaaa", "last\n")])
    store.close()
    reader = JournalReader(home)
    assert [each.index for each in reader.errors("aaaaaaaa")] == list(range(MAX_ERRORS))
    printed = "".join(log.text for log in reader.log("aaaaaaaa"))
    assert printed.endswith(" 180\nlast\n")
    assert MAX_LOG_CHARS <= len(printed) <= MAX_LOG_CHARS + 50_010
    store.write([LogRecord("aaaaaaaa", "y" * (3 * MAX_LOG_CHARS))])
    store.close()
    assert "".join(log.text for log in reader.log("aaaaaaaa")) == "y" * MAX_LOG_CHARS


def test_what_utf8_cannot_hold_is_kept_escaped(
    home: Path, clock: Callable[[], float], a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa", name="\udcff"), LogRecord("aaaaaaaa", "caf\udce9")])
    store.close()
    reader = JournalReader(home)
    assert reader.job("aaaaaaaa").name == "\\udcff"
    assert reader.log("aaaaaaaa")[0].text == "caf\\udce9"


def test_a_number_too_large_for_the_file_is_kept_roughly(
    home: Path, clock: Callable[[], float], a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa", n_items=10**30)])
    store.close()
    assert JournalReader(home).job("aaaaaaaa").n_items == 1e30


def test_a_job_that_runs_again_is_alive_again(home: Path, clock: Any, a_job: MakeJob) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa")])
    store.write([ProgressUpdate("aaaaaaaa", {"state": JobState.FAILED, "failed": 1})])
    assert JournalReader(home).job("aaaaaaaa").ended == NOON
    assert not store.has_live_jobs
    store.write([ProgressUpdate("aaaaaaaa", {"state": JobState.RUNNING})])
    clock.now += 5
    store.beat()
    store.close()
    row = JournalReader(home).job("aaaaaaaa")
    assert (row.state, row.ended, row.heartbeat) == (JobState.RUNNING, None, NOON + 5)


def test_whatever_is_recorded_of_a_job_is_a_sign_of_its_life(
    home: Path, clock: Any, a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa"), a_job("bbbbbbbb")])
    clock.now += 1.5
    store.write([ProgressUpdate("aaaaaaaa", {"done": 3})])
    store.close()
    jobs = [JournalReader(home, clock=clock).job(job_id) for job_id in ("aaaaaaaa", "bbbbbbbb")]
    assert [job.heartbeat for job in jobs] == [NOON + 1.5, NOON]


def test_live_jobs_are_written_again_where_the_file_was_removed(
    home: Path, clock: Any, a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa"), ProgressUpdate("aaaaaaaa", {"done": 7})])
    shutil.rmtree(home)
    store.beat()
    store.close()
    assert JournalReader(home).job("aaaaaaaa").done == 7


def test_a_file_damaged_while_open_is_kept_aside_and_live_jobs_go_on(
    home: Path, clock: Any, a_job: MakeJob
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa"), ProgressUpdate("aaaaaaaa", {"done": 7})])
    store.close()
    store.path.write_bytes(b"garbage from a failing disk" * 400)
    store.write([ProgressUpdate("aaaaaaaa", {"done": 8})])
    store.close()
    assert JournalReader(home).job("aaaaaaaa").done == 8
    assert "kept as journal.db.corrupt-" in (store.notice or "")


def test_a_command_reaches_the_process_of_its_job_once(
    home: Path, clock: Any, a_job: MakeJob
) -> None:
    one, other = a_store(home, clock), a_store(home, clock)
    one.write([a_job("aaaaaaaa")])
    other.write([a_job("bbbbbbbb")])
    reader = JournalReader(home, clock=clock)
    sent = reader.send("bbbbbbbb", "retry", items=[1, 2])
    assert one.take_commands() == []
    (taken,) = other.take_commands()
    assert (taken.id, taken.verb, taken.args, taken.taken) == (
        sent,
        "retry",
        {"items": [1, 2]},
        NOON,
    )
    assert other.take_commands() == []
    assert reader.command(sent) == taken
    one.close()
    other.close()


def test_a_command_taken_back_is_not_taken(home: Path, clock: Any, a_job: MakeJob) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa")])
    reader = JournalReader(home, clock=clock)
    sent = reader.send("aaaaaaaa", "cancel")
    assert reader.withdraw(sent)
    assert store.take_commands() == []
    assert not reader.withdraw(sent)
    assert reader.command(sent) is None
    store.close()


def test_what_waits_for_a_full_disk_is_bounded_but_says_all_of_jobs(a_job: MakeJob) -> None:
    waiting = [
        a_job("aaaaaaaa"),
        *(ProgressUpdate("aaaaaaaa", {"done": n}) for n in range(500)),
        *(batch("aaaaaaaa", n) for n in range(500)),
    ]
    kept = shrink(waiting, 10, NOON)
    assert kept[:2] == [waiting[0], ProgressUpdate("aaaaaaaa", {"done": 499})]
    assert [each.batch for each in kept[2:] if isinstance(each, BatchRecord)] == list(
        range(490, 500)
    )
    assert len(kept) == 12


@pytest.mark.parametrize("bad", [{"done": None}, {"state": "asleep"}])
def test_an_entry_that_cannot_be_written_leaves_nothing_behind(
    home: Path, clock: Any, a_job: MakeJob, bad: dict[str, Any]
) -> None:
    store = a_store(home, clock)
    store.write([a_job("aaaaaaaa")])
    with pytest.raises((sqlite3.IntegrityError, ValueError)):
        store.write([batch("aaaaaaaa"), ProgressUpdate("aaaaaaaa", bad)])
    store.close()
    assert JournalReader(home).batches("aaaaaaaa") == []
