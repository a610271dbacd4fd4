"""100,000 items that do nothing: what an item costs, and whether default batches suit tiny ones."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import pools
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import noop_for

ITEMS = 100_000
TUNED = {"concurrent.futures": 5_000, "loky": 5_000}


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, noop = pools.start(cell), noop_for(cell.engine)
    items = range(ITEMS)
    start = time.perf_counter()
    results = engine.map(noop, items, cell.chunk)
    seconds = time.perf_counter() - start
    if results != list(range(1, ITEMS + 1)):
        raise AssertionError(f"{cell} returned wrong results")
    return {"ms": seconds * 1e3, "rate": ITEMS / seconds}


CASE = Case(
    name="noops",
    title="100,000 no-ops, a closure defined in the notebook",
    metrics=(
        Metric(key="ms", label="time", unit="ms", digits=1, target=Target(limit=2, of_floor=True)),
        Metric(key="rate", label="rate", unit="items/s", digits=0, higher_is_better=True),
    ),
    run=run,
    tuned=TUNED,
)
