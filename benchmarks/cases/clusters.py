"""10,000 items beside Dask and Ray: what an item costs, and whether short items keep all workers busy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from benchmarks import pools
from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading
from benchmarks.notebook import noop_for, task_for
from benchmarks.schedule import even_split

ITEMS: Final = 10_000
SECONDS: Final = 0.001


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, noop, spin = pools.start(cell), noop_for(cell.engine), task_for(cell.engine, "spin")
    start = time.perf_counter()
    results = engine.map(noop, range(ITEMS), cell.chunk)
    overhead = (time.perf_counter() - start) / ITEMS
    if results != list(range(1, ITEMS + 1)):
        raise AssertionError(f"{cell} returned wrong results")
    start = time.perf_counter()
    used = engine.map(spin, [SECONDS] * ITEMS, cell.chunk)
    wall = time.perf_counter() - start
    return {"overhead": overhead * 1e6, "makespan": wall / even_split(used, usable_cpus())}


CASE = Case(
    name="clusters",
    title="10,000 no-ops, then 10,000 × 1 ms, beside Dask and Ray",
    metrics=(
        Metric(key="overhead", label="no-op, each", unit="µs", digits=1),
        Metric(key="makespan", label="makespan of 1 ms", digits=3),
    ),
    run=run,
    among=frozenset({"cloudbutton", "cloudbutton on dask", "floor", "dask", "dask.bag", "ray"}),
    tuned={"dask": 1_000},
    timeout=180.0,
)
