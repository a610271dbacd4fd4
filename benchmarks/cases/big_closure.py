"""64 items of a closure over a 200 MB array: is it sent once, or with every task?"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import defined_in_main

ITEMS = 64
NUMBERS = 25_000_000


def run(cell: Cell) -> Mapping[str, Reading]:
    import numpy as np

    engine = pools.start(cell)
    big = np.arange(NUMBERS, dtype=np.float64)
    total = defined_in_main("make_slice_sum")(big, ITEMS)
    expected = [total(index) for index in range(ITEMS)]
    readings: dict[str, Reading] = {}
    for key in ("first", "second"):
        start = time.perf_counter()
        results = engine.map(total, range(ITEMS))
        readings[key] = (time.perf_counter() - start) * 1e3
        if results != expected:
            raise AssertionError(f"{cell} summed wrongly")
    return readings


CASE = Case(
    name="closure",
    title="A closure over a 200 MB array, 64 items",
    metrics=(
        Metric(key="first", label="first run", unit="ms", digits=0, target=Target(limit=150)),
        Metric(key="second", label="second run", unit="ms", digits=1, target=Target(limit=15)),
        Metric(
            key="peak_mb", label="peak memory of all processes", unit="MB", digits=0,
            target=Target(limit=200 + 200 + 60),
        ),
    ),
    run=run,
    timeout=12,
    samples_memory=True,
)  # fmt: skip
