"""Items whose results are known before a job begins: they are not run, and come first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from cloudbutton_backend.capture import Captured
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of
from cloudbutton_backend.session.session import Session


def pid_of(item: int) -> tuple[int, int]:
    return item, os.getpid()


def runs_among(runs: Sequence[ResultRange], kept: set[int]) -> list[ResultRange]:
    return [
        ResultRange(i, i + 1, run.entry)
        for run in runs
        for i in range(run.first, run.stop)
        if i in kept
    ]


@pytest.mark.parametrize("kept", [set(), {0}, {9}, {3, 4, 5}, {0, 2, 9}, set(range(10))])
def test_items_with_results_are_not_run_and_their_results_are_theirs(
    session: Session, kept: set[int]
) -> None:
    first = session.map(pid_of, range(10))
    before = first.results()
    asked: list[Any] = []

    def found(job_id: str, captured: Captured, items: Sequence[Any]) -> list[ResultRange]:
        asked.extend([job_id, captured.digest, list(items)])
        return runs_among(first._result_store.so_far(), kept)

    def other(item: int) -> tuple[int, str]:
        return item, "run"

    job = session.map(other, range(10), found=found)
    assert job.results() == [before[i] if i in kept else (i, "run") for i in range(10)]
    assert asked == [job.id, asked[1], list(range(10))]
    assert (job.state, job.progress.done) == (JobState.DONE, 10)
    assert dict(job.as_completed()) == dict(enumerate(job.results()))
    assert [outcome.index for outcome in job.outcomes()] == list(range(10))


def test_found_items_are_kept_when_the_others_fail_and_are_tried_again(session: Session) -> None:
    first = session.map(pid_of, range(4))
    before = first.results()

    def fails(item: int) -> Any:
        raise ValueError(item)

    job = session.map(
        fails, range(4), found=lambda *_: runs_among(first._result_store.so_far(), {1, 2})
    )
    with pytest.raises(ValueError):
        job.results()
    assert job.partial() == {1: before[1], 2: before[2]}
    with pytest.raises(ValueError):
        job.retry_failed().results()
    assert job.partial() == {1: before[1], 2: before[2]}


def test_ranges_are_joined_where_they_touch() -> None:
    runs = [ResultRange(4, 6, None), ResultRange(0, 2, None), ResultRange(2, 3, None)]
    assert ranges_of(runs) == ((0, 3), (4, 6))
    assert ranges_of([]) == ()
