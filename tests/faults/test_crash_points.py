"""Processes killed at their writes: a few of `make faults`, others with each commit."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.scenarios import crashes

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what a descriptor has open is told by /proc"
)

ROOT = Path(__file__).resolve().parents[2]
_A_FEW = 6


def sample() -> list[int]:
    """Return the numbers of a few trials; of a checkout without Git always the same."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return sorted(random.Random(found.stdout).sample(range(len(crashes.TRIALS)), _A_FEW))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "number", sample(), ids=lambda number: "-".join(map(str, crashes.TRIALS[number]))
)
def test_a_process_killed_at_a_write_loses_and_doubles_nothing(tmp_path: Path, number: int) -> None:
    tally = crashes.at_a_write(number, tmp_path)
    assert tally.surprises == ()
    assert (tally.lost, tally.doubled, tally.wrong) == (0, 0, 0)


@pytest.mark.timeout(120)
def test_every_kind_of_write_of_a_job_is_among_them(tmp_path: Path) -> None:
    log = crashes.writes_of("run_cached", tmp_path)
    for kind in (
        "link home/*",
        "write blobs/*",
        "replace blobs/*",
        "write jobs/*.items",
        "replace jobs/*",
        "write results/*.seg",
        "fsync results/*.seg",
        "fsync home/*.db-wal",
        "COMMIT database",
    ):
        assert any(kind in line for line in log), kind
    assert len(log) <= crashes.WRITES["run_cached"]
