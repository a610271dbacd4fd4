"""10,000 items of one millisecond each: are both workers busy all the time?"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import task_for
from benchmarks.schedule import even_split

ITEMS = 10_000
SECONDS = 0.001
TUNED = {"concurrent.futures": 20, "multiprocessing.Pool": 20, "loky": 20}


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, spin = pools.start(cell), task_for(cell.engine, "spin")
    start = time.perf_counter()
    used = engine.map(spin, [SECONDS] * ITEMS, cell.chunk)
    wall = time.perf_counter() - start
    return {"makespan": wall / even_split(used, usable_cpus())}


CASE = Case(
    name="millisecond",
    title="10,000 × 1 ms",
    metrics=(Metric(key="makespan", label="makespan", digits=3, target=Target(limit=1.03)),),
    run=run,
    tuned=TUNED,
)
