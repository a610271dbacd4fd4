"""Cold start: from the start of a process to the first two results of a function defined in it."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.fresh import run_script
from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading, Target

_SCRIPT = """
import time
from {module} import Engine

def add_one(x):
    return x + 1

engine = Engine({workers})
results = engine.map(add_one, [1, 2])
ready = time.monotonic()
assert results == [2, 3]
engine.close()
print(ready)
"""


def run(cell: Cell) -> Mapping[str, Reading]:
    started, ready = run_script(_SCRIPT.format(module=cell.engine.module, workers=usable_cpus()))
    return {"ms": (ready - started) * 1e3}


CASE = Case(
    name="cold",
    title="Cold start: process start, import, first two results",
    metrics=(Metric(key="ms", label="time", unit="ms", digits=0, target=Target(limit=120)),),
    run=run,
)
