"""1,000 items of 5 ms, taken as they finish: how soon is the first there, how late the last?"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import task_for
from benchmarks.schedule import even_split

ITEMS = 1_000
SECONDS = 0.005


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, spin = pools.start(cell), task_for(cell.engine, "spin")
    start = time.perf_counter()
    first: float | None = None
    used: list[float] = []
    for value in engine.stream(spin, [SECONDS] * ITEMS):
        if first is None:
            first = time.perf_counter() - start
        used.append(value)
    wall = time.perf_counter() - start
    if first is None or len(used) != ITEMS:
        raise AssertionError(f"{cell} streamed {len(used)} of {ITEMS} results")
    return {"first": first * 1e3, "makespan": wall / even_split(used, usable_cpus())}


CASE = Case(
    name="stream",
    title="1,000 × 5 ms, streamed",
    metrics=(
        Metric(key="first", label="first result", unit="ms", digits=1, target=Target(limit=10)),
        Metric(key="makespan", label="last, makespan", digits=3, target=Target(limit=1.04)),
    ),
    run=run,
)
