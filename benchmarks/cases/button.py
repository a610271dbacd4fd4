"""`%%cloud` on ordinary cells: analysis, a loop worth sending, and cells too short to gain."""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping
from statistics import median
from typing import Final

from benchmarks.fresh import Notebook
from benchmarks.model import Case, Cell, Metric, Reading, Target

_BLOCK: Final = """
results = []
for i, (name, value) in enumerate(zip(names, values)):
    cleaned = value.strip().lower()
    if not cleaned:
        continue
    score = sum(weights.get(word, 0) for word in cleaned.split())
    results.append((name, score))
    if score > best:
        best, best_name = score, name
table = {k: f(v) for k, v in results}
"""
_LINES: Final = 200
_SETUP: Final = "import time\ndef work(x):\n    time.sleep(0.05)\n    return x * x"
_LOOP: Final = "ys = []\nfor x in range(64):\n    ys.append(work(x))"
_SHORT: Final = "total = 0\nfor i in range(1_500_000):\n    total += i * i"


def _analysis() -> float:
    """Return the seconds to plan a cell of 200 lines."""
    from cloudbutton_magic.button import plan

    tree = ast.parse(_BLOCK * (_LINES // _BLOCK.count("\n") + 1))

    def once() -> float:
        start = time.perf_counter()
        plan(tree, {})
        return time.perf_counter() - start

    return median(once() for _ in range(9))


def run(cell: Cell) -> Mapping[str, Reading]:
    notebook = Notebook()
    notebook.run("import cloudbutton_ext; cloudbutton_ext.warm_up()")
    notebook.run(_SETUP)
    by_hand, button, plain, short = [], [], [], []
    for _ in range(3):
        by_hand.append(notebook.run("%%cloud map x in range(64) -> ys\nwork(x)"))
        expected = list(notebook.value("ys"))
        button.append(notebook.run(f"%%cloud\n{_LOOP}"))
        if notebook.value("ys") != expected:
            raise AssertionError("the button left other values than the map")
        plain.append(notebook.run(_SHORT))
        short.append(notebook.run(f"%%cloud\n{_SHORT}"))
    return {
        "analysis": _analysis() * 1e3,
        "button": median(button) / median(by_hand),
        "short": (median(short) - 1.05 * median(plain)) * 1e3,
    }


CASE = Case(
    name="button",
    title="The button on ordinary cells",
    metrics=(
        Metric(
            key="analysis", label="analysis of 200 lines", unit="ms", digits=1,
            target=Target(limit=20),
        ),
        Metric(
            key="button", label="64 × 50 ms, ÷ `%%cloud map` by hand", digits=3,
            target=Target(limit=1.05),
        ),
        Metric(
            key="short", label="a cell too short to gain, beyond 1.05 × plain", unit="ms",
            digits=1, target=Target(limit=20),
        ),
    ),
    run=run,
    only="ours",
)  # fmt: skip
