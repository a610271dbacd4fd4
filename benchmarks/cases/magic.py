"""`%%cloud map` with its view and journal: the first one with the workers up, and later ones."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.fresh import Notebook
from benchmarks.model import Case, Cell, Metric, Reading, Target

_CELL = "%%cloud map x in xs -> ys\nx + 1"


def run(cell: Cell) -> Mapping[str, Reading]:
    notebook = Notebook()
    notebook.run("import cloudbutton_ext; cloudbutton_ext.warm_up(); xs = [1, 2]")
    first = notebook.run(_CELL)
    if list(notebook.value("ys")) != [2, 3]:
        raise AssertionError(f"%%cloud map x + 1 over [1, 2] gave {notebook.value('ys')!r}")
    later = median(notebook.run(_CELL) for _ in range(50))
    return {"first": first * 1e3, "later": later * 1e3}


CASE = Case(
    name="magic",
    title="Warm two-item `%%cloud map`, with the live view",
    metrics=(
        Metric(key="first", label="first in the notebook", unit="ms", target=Target(limit=40)),
        Metric(key="later", label="later ones", unit="ms", target=Target(limit=6)),
    ),
    run=run,
    only="ours",
)
