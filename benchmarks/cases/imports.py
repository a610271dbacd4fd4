"""What an import costs beyond IPython, and what loading the extension costs."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.fresh import Notebook, run_script
from benchmarks.model import Case, Cell, Metric, Reading, Target

_SCRIPT = """
import IPython, time
start = time.perf_counter()
import {library}
print(time.perf_counter() - start)
"""


def run_import(cell: Cell) -> Mapping[str, Reading]:
    _, seconds = run_script(_SCRIPT.format(library=cell.engine.library))
    return {"ms": seconds * 1e3}


def run_extension(cell: Cell) -> Mapping[str, Reading]:
    return {"ms": Notebook(extension=False).load_extension() * 1e3}


CASE = Case(
    name="import",
    title="Import, beyond IPython",
    metrics=(Metric(key="ms", label="time", unit="ms", digits=1, target=Target(limit=60)),),
    run=run_import,
)

EXTENSION = Case(
    name="extension",
    title="`%load_ext cloudbutton_ext`, workers warming in the background",
    metrics=(Metric(key="ms", label="time", unit="ms", digits=1, target=Target(limit=100)),),
    run=run_extension,
    only="ours",
)
