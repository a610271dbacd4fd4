"""The dispatcher where everything goes wrong at once: `python -m benchmarks.faults simulated`, made small."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.scenarios import simulated


@pytest.mark.parametrize("seed", range(40))
def test_the_dispatcher_loses_and_doubles_nothing_whatever_goes_wrong(
    tmp_path: Path, seed: int
) -> None:
    tally = simulated.dispatcher(seed, tmp_path, n_items=5_000, n_workers=50 + 10 * seed)
    assert tally.is_clean, tally.surprises
    assert tally.struck > 0
