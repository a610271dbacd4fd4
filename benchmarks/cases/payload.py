"""200 arrays of 4 MB to the workers and back."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import task_for

ITEMS = 200
NUMBERS = 500_000
TUNED = {"multiprocessing.Pool": 1, "joblib": 1, "mpire": 1}


def run(cell: Cell) -> Mapping[str, Reading]:
    import numpy as np

    engine, same = pools.start(cell), task_for(cell.engine, "same")
    arrays = [np.arange(number, number + NUMBERS, dtype=np.float64) for number in range(ITEMS)]
    # Pages of workers and parent are touched once before; a long session has that behind it.
    engine.map(same, arrays[:4], cell.chunk)
    start = time.perf_counter()
    results = engine.map(same, arrays, cell.chunk)
    seconds = time.perf_counter() - start
    for sent, returned in zip(arrays, results, strict=True):
        if not np.array_equal(sent, returned):
            raise AssertionError(f"{cell} changed an array")
    return {"rate": 2 * ITEMS * arrays[0].nbytes / 1e6 / seconds}


CASE = Case(
    name="payload",
    title="200 × 4 MB arrays in and out",
    metrics=(
        Metric(
            key="rate",
            label="both ways",
            unit="MB/s",
            digits=0,
            higher_is_better=True,
            target=Target(limit=3200, least=True),
        ),
    ),
    run=run,
    tuned=TUNED,
)
