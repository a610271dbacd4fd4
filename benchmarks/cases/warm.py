"""The round trip of two items through a pool that is up."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import pools
from benchmarks.cases.repeated import median_seconds
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import noop_for


def run(cell: Cell) -> Mapping[str, Reading]:
    engine, noop = pools.start(cell), noop_for(cell.engine)
    return {"ms": median_seconds(lambda: engine.map(noop, [1, 2])) * 1e3}


CASE = Case(
    name="warm",
    title="Warm two-item map, API",
    metrics=(Metric(key="ms", label="time", unit="ms", digits=3, target=Target(limit=0.30)),),
    run=run,
)
