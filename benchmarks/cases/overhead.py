"""What our view and journal cost: the magic with both, against the API with neither."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.cases import millisecond, noops
from benchmarks.fresh import run_script
from benchmarks.model import Case, Cell, Metric, Reading, Target

_ON: Final = "%%cloud map x in {items} -> ys\n{task}(x)"
_OFF: Final = "ys = cloud.map({task}, {items}, quiet=True).results()"

#: Runs in a fresh process, because the journal is switched for a whole process.
_SCRIPT: Final = """
import json
from statistics import median
from benchmarks.fresh import Notebook
from benchmarks.machine import usable_cpus
from benchmarks.schedule import even_split

notebook = Notebook()
notebook.run("import cloudbutton_ext as cloud; cloud.warm_up(); n = 1")
notebook.run("from benchmarks.notebook import defined_in_main; spin = defined_in_main('spin')")
notebook.run("def add(x): return x + n")
notebook.run("few, many, spins = [1, 2], range({noops}), [{seconds}] * {spins}")

def run(items, task):
    return notebook.run({cell!r}.format(items=items, task=task))

run("few", "add")
tiny = median(run("many", "add") for _ in range(7))
wall = run("spins", "spin")
print(json.dumps([tiny, wall / even_split(notebook.value("ys"), usable_cpus())]))
"""


def _measure(cell: str, environment: Mapping[str, str]) -> tuple[float, float]:
    source = _SCRIPT.format(
        noops=noops.ITEMS, spins=millisecond.ITEMS, seconds=millisecond.SECONDS, cell=cell
    )
    _, (tiny, makespan) = run_script(source, environment=environment)
    return tiny, makespan


def run(cell: Cell) -> Mapping[str, Reading]:
    from benchmarks.engines.cloudbutton import JOURNAL_OFF

    on_tiny, on_makespan = _measure(_ON, {})
    with tempfile.TemporaryDirectory(prefix="benchmark-") as home:
        off_tiny, off_makespan = _measure(_OFF, {**JOURNAL_OFF, "CLOUDBUTTON_HOME": home})
        if written := [path.name for path in Path(home).rglob("*.db")]:
            raise AssertionError(f"the journal was to be off, but there is {written[0]}")
    return {
        "millisecond": (on_makespan / off_makespan - 1) * 100,
        "noops": (on_tiny / off_tiny - 1) * 100,
    }


CASE = Case(
    name="overhead",
    title="View and journal on, against off",
    metrics=(
        Metric(
            key="millisecond", label="on 10,000 × 1 ms", unit="%", digits=1,
            target=Target(limit=2),
        ),
        Metric(
            key="noops", label="on 100,000 no-ops", unit="%", digits=1, target=Target(limit=30)
        ),
    ),
    run=run,
    only="ours",
    least_runs=3,
)  # fmt: skip
