"""Whole jobs, where the dispatcher's rules meet what Lambda does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudbutton_backend.errors import BudgetReached
from cloudbutton_backend.testing.conformance import PATIENCE, TaskPlace
from tests.lambda_backend.conftest import new_backend, shared_emulator


@pytest.fixture(scope="module")
def place() -> Iterator[TaskPlace]:
    place = TaskPlace(new_backend(shared_emulator()))
    yield place
    place.session.close()


def test_a_straggler_is_run_a_second_time_and_the_first_result_counts(
    place: TaskPlace, tmp_path: Path
) -> None:
    marker, gate = str(tmp_path / "begun"), str(tmp_path / "gate")

    def stuck_once(x: int) -> int:
        if x == 5:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return x
            while not os.path.exists(gate):
                time.sleep(0.02)
        return x

    try:
        job = place.start(stuck_once, range(10))
        assert job.wait(PATIENCE) and job.results() == list(range(10))
        assert job.progress.warnings == (), "the first call did not stop"
    finally:
        Path(gate).touch()


def test_a_job_ends_before_its_calls_cost_more_than_its_budget(place: TaskPlace) -> None:
    rate = place.backend.limits.rate
    assert rate is not None
    budget = 6 * rate.at_most(0.5)

    def nap(x: int) -> int:
        time.sleep(0.4)
        return x

    job = place.start(nap, range(60), budget=budget)
    assert job.wait(PATIENCE)
    with pytest.raises(BudgetReached):
        job.results()
    done = len(job.partial())
    assert 0 < done < 60
    assert job.progress.spend is not None and 0 < job.progress.spend <= budget


def test_spending_is_the_sum_of_what_the_platform_billed(place: TaskPlace) -> None:
    place.map(lambda x: x, [0])
    before = len(shared_emulator().reports)
    job = place.start(lambda x: x, range(100))
    assert job.results() == list(range(100))
    reports = shared_emulator().reports[before:]
    gb_seconds = sum(report.gb_seconds for report in reports)
    spent = gb_seconds * 16.6667e-6 + len(reports) * 0.2e-6
    assert job.progress.spend == pytest.approx(spent, rel=1e-3)


def test_cancelling_a_job_with_calls_that_wait_for_their_turn_ends_all_of_them(
    place: TaskPlace, tmp_path: Path
) -> None:
    begun = str(tmp_path / "begun")

    def hang(_: int) -> None:
        open(begun, "w").close()
        while True:
            time.sleep(0.05)

    job = place.start(hang, range(8))
    deadline = time.monotonic() + 20
    while not os.path.exists(begun):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    job.cancel()
    assert job.wait(10.0)
    assert place.map(lambda x: x, range(5)) == list(range(5))
