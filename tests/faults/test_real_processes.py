"""Faults done to real processes, disks and clocks: short versions of `python -m benchmarks.faults`.

Each run is judged from outside: what arrived against what the plain loop would give, executions as
the tasks themselves noted them, the journal as another process reads it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.faults.scenarios import clocks, crowds, disks, kernels, memory, workers
from benchmarks.faults.tally import Tally

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="signals and limits as Linux has them"
)


def kept(tally: Tally) -> bool:
    """Whether nothing was lost, doubled, wrong or otherwise not as promised; says what was not."""
    assert tally.surprises == ()
    return (tally.lost, tally.doubled, tally.wrong) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_workers_killed_at_random_cost_no_result(tmp_path: Path, seed: int) -> None:
    tally = workers.killed(seed, tmp_path, n_items=400, kills=4)
    assert kept(tally)
    assert tally.struck > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_that_stands_still_is_waited_for_and_nothing_runs_twice(
    tmp_path: Path, seed: int
) -> None:
    tally = workers.stopped(seed, tmp_path, n_items=200, hold=0.0)
    assert kept(tally)
    assert tally.recomputed == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_job_outlives_kernels_killed_at_random(tmp_path: Path, seed: int) -> None:
    tally = kernels.killed(seed, tmp_path, n_items=150)
    assert kept(tally)


@pytest.mark.parametrize("seed", range(2))
def test_of_two_that_attach_at_once_one_goes_on_and_the_other_takes_over(
    tmp_path: Path, seed: int
) -> None:
    assert kept(kernels.contended(seed, tmp_path, n_items=150))


@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path, seed: int) -> None:
    tally = disks.full(seed, tmp_path, n_items=120)
    assert kept(tally)
    assert tally.recomputed == 0


def test_files_that_may_not_grow_cost_nothing(tmp_path: Path) -> None:
    tally = disks.limited(tmp_path, {"n_jobs": 2, "n_items": 60, "seconds": 0.001})
    assert kept(tally)
    assert tally.recomputed == 0


def test_a_journal_that_others_keep_locked_delays_no_job_and_is_complete_after(
    tmp_path: Path,
) -> None:
    tally = disks.slow(0, tmp_path, n_jobs=3, n_items=60, longest=1.0, slowest_sync=0.1)
    assert kept(tally)
    assert tally.recomputed == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_jumps_confuses_no_job_and_no_reader(tmp_path: Path, seed: int) -> None:
    tally = clocks.jumping(seed, tmp_path, n_jobs=3, n_items=60)
    assert kept(tally)
    assert tally.recomputed == 0


def test_more_results_than_memory_can_be_taken_one_by_one(tmp_path: Path) -> None:
    limit = 768 << 20
    tally = memory.large_results(0, tmp_path, n_items=900, limit=limit)
    assert kept(tally)


@pytest.mark.parametrize("seed", range(2))
def test_fifty_jobs_at_once_do_not_mix_up_their_results(tmp_path: Path, seed: int) -> None:
    assert kept(crowds.threads(seed, tmp_path, most_items=100))


def test_two_kernels_share_a_journal_while_a_third_process_cleans_it(tmp_path: Path) -> None:
    assert kept(crowds.kernels(0, tmp_path, n_jobs=8, n_items=40))
