"""64 items, one of them of two seconds: does anything wait behind it?"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import task_for
from benchmarks.schedule import list_schedule

ITEMS = 64
LONG_ONE = 17


def durations() -> list[float]:
    """Return 63 exponential durations of 32 ms on average, and one of 2 s among them."""
    random_number = random.Random(64)
    seconds = [random_number.expovariate(1 / 0.032) for _ in range(ITEMS)]
    seconds[LONG_ONE] = 2.0
    return seconds


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, spin = pools.start(cell), task_for(cell.engine, "spin")
    start = time.perf_counter()
    used = engine.map(spin, durations())
    wall = time.perf_counter() - start
    return {"ratio": wall / list_schedule(used, usable_cpus())}


CASE = Case(
    name="heavy-tail",
    title="Heavy tail: 64 items, one of 2 s",
    metrics=(
        Metric(
            key="ratio", label="time ÷ in-order list schedule", digits=3, target=Target(limit=1.03)
        ),
    ),
    run=run,
)
