"""Jobs that another process runs: kept by a keeper, followed, cancelled, taken over."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import BackendError, JobCancelled, UsageError
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal.liveness import start_token
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage import job_paths
from cloudbutton_backend.storage.home import home

from .conftest import Start, row_of, until

SQUARED = [x * x for x in range(20)]

DETACHED = """
def square(x):
    await_gate(x)
    print("square of", x)
    return x * x
job = cloud.map(square, list(range(20)), detach=True)
"""


def is_gone(pid: int) -> bool:
    return not start_token(pid)


def test_a_keeper_outlives_its_kernel_and_ends_itself_with_the_job(victim: Start) -> None:
    program = victim(DETACHED)
    row = program.await_row(lambda row: row.done >= 10)
    assert row.pid != program.process.pid
    program.kill()
    os.kill(row.pid, signal.SIGHUP)  # as a terminal that is closed
    job = cloud.attach(program.job_id)
    assert job.partial() == dict(enumerate(SQUARED[:10]))
    program.open()
    assert job.results() == SQUARED
    assert max(program.runs().values()) == 1
    until(lambda: is_gone(row.pid))
    assert not job_paths.log_file(home(), job.id).exists()
    shown = [output.data for outcome in job.shown() for output in outcome.outputs]
    assert shown == [f"square of {x}\n" for x in range(20)]


def test_a_job_that_another_kernel_runs_is_followed_and_can_be_cancelled_from_here(
    victim: Start,
) -> None:
    program = victim()
    program.await_row(lambda row: row.done >= 10)
    job = cloud.attach(program.job_id)
    assert (job.state, job.progress.done, job.ends_with_us) == (JobState.RUNNING, 10, False)
    new_results = job.as_completed()
    assert dict(next(new_results) for _ in range(10)) == dict(enumerate(SQUARED[:10]))
    with pytest.raises(UsageError, match="is being run by another process"):
        Session().attach(program.job_id, workers=1)
    job.cancel()
    assert job.wait(20.0)
    assert job.state is JobState.CANCELLED
    with pytest.raises(JobCancelled):
        job.results()
    program.open()
    assert job.retry_failed().results() == SQUARED
    row = row_of(job.id)
    assert row is not None and row.pid == os.getpid()


def test_a_followed_job_is_taken_over_when_its_process_dies(victim: Start) -> None:
    program = victim()
    program.await_row(lambda row: row.done >= 10)
    job = cloud.attach(program.job_id)
    seen = job.as_completed()
    assert dict(next(seen) for _ in range(10)) == dict(enumerate(SQUARED[:10]))
    program.kill()
    until(lambda: job.ends_with_us)
    program.open()
    assert sorted(seen) == list(enumerate(SQUARED))[10:]
    assert job.results() == SQUARED
    assert all(program.runs()[x] == 1 for x in range(10))


def test_errors_of_a_followed_job_are_its_own(victim: Start) -> None:
    program = victim(
        """
def divide(x):
    await_gate(x)
    return 1 / (x - 12)
job = cloud.map(divide, list(range(20)))
"""
    )
    program.await_row(lambda row: row.done >= 10)
    job = cloud.attach(program.job_id)
    program.open()
    with pytest.raises(ZeroDivisionError) as caught:
        job.results()
    assert caught.value.cloud_index == 12  # type: ignore[attr-defined]
    assert job.state is JobState.FAILED
    assert set(job.errors()) == {12}


def test_the_end_of_a_session_leaves_detached_and_followed_jobs_alone(victim: Start) -> None:
    program = victim()
    program.await_row(lambda row: row.done >= 10)
    other = Session()
    followed = other.attach(program.job_id)
    other.close()
    program.open()
    row = program.await_row(lambda row: row.state.is_final)
    assert row.state is JobState.DONE
    assert not followed.state.is_final


def test_a_detached_jobs_iterator_is_read_before_the_call_returns(
    session: Session, tmp_path: Path
) -> None:
    given = iter(range(5))
    job = cloud.map(lambda x: x + 1, given, detach=True)
    assert list(given) == []
    assert job.results() == [1, 2, 3, 4, 5]
    assert job.n_items == 5


def test_a_keeper_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BackendError, match="did not start"):
        cloud.map(abs, [1], detach=True)
