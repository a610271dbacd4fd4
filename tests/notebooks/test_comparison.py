"""Cells of the examples and of a notebook leave the same with the button; what differs is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.__main__ import compare
from tests.notebooks.cells import plain, pressed, read_cells
from tests.notebooks.comparison import differences, outcome_of
from tests.notebooks.digests import digests
from tests.notebooks.runs import CellRun, NotebookRun

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICK = (
    "import ast",
    "%%cloud\nstart = time.perf_counter()\nmeasured",
    "%%cloud\nsquares",
    "%%cloud\nrng",
)
"""How the cells of an example begin that are over soon."""

CELLS = [
    "import numpy as np, warnings\nimport matplotlib.pyplot as plt\nys = []",
    "for i in range(6):\n    print(i)\n    ys.append(np.arange(i) ** 2)\nys[-1]",
    "state = 1\nfor i in range(4):\n    state = state * 2 + i\nstate;",
    "fig, axes = plt.subplots(1, 2)\nfor i in range(2):\n    axes[i].plot([i, 2])",
    "for i in range(3):\n    open(f'{i}.txt', 'w').write(str(i))",
    "zs = [1 // (3 - i) for i in range(9)]",
    "import asyncio\nws = [await asyncio.sleep(0, i) for i in range(3)]",
    "totals = {k: sum(range(k)) for k in range(5)}\n_ = totals",
]


@pytest.mark.timeout(600)  # three kernels at most, on a machine that may be busy
def test_a_notebook_and_cells_of_an_example_leave_the_same(tmp_path: Path) -> None:
    example = read_cells(EXAMPLES / "02-the-button.ipynb")
    cells = [*CELLS, *(cell for cell in example if cell.startswith(QUICK))]
    result = compare("both", cells, tmp_path, patience=60.0)
    assert (result.outcome, result.differences) == ("identical", {})
    assert len(cells) == len(CELLS) + len(QUICK)
    assert result.sent >= 4 and result.refused.total() >= 3, result


@pytest.mark.parametrize(
    ("cell", "as_plain", "with_button"),
    [
        ("[f(x) for x in xs]", "#\n[f(x) for x in xs]", "%%cloud --force \n[f(x) for x in xs]"),
        ("%%cloud --workers 2\n[f(x)]", "%%cloud --workers 2\n[f(x)]", "%%cloud --workers 2\n[f(x)]"),
        ("%%cloud --quiet\n{x for x in y}", "#\n{x for x in y}", "%%cloud --force --quiet\n{x for x in y}"),
        ("%matplotlib inline\nx = 1", "%matplotlib inline\nx = 1", "%matplotlib inline\nx = 1"),
        ("%%time\n[x for x in xs]", "%%time\n[x for x in xs]", "%%time\n[x for x in xs]"),
    ],
)  # fmt: skip
def test_the_button_is_on_cells_with_loops(cell: str, as_plain: str, with_button: str) -> None:
    assert (plain(cell), pressed(cell)) == (as_plain, with_button)


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (CellRun("x", shown={"stdout": "1"}), "different"),
        (CellRun("x", names={"a": "int 1"}), "different"),
        (CellRun("x", shown={"error": ["KeyError"]}), "failing"),
        (CellRun("x", hangs=True), "hanging"),
        (CellRun("x"), "identical"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_differs_is_found(other: CellRun, outcome: str) -> None:
    first, second = NotebookRun([CellRun("x")], {}), NotebookRun([other], {})
    assert outcome_of(first, second, differences(first, second)) == outcome


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a = [1.0]", "a = [1]"),
        ("a = [[], []]", "b = []; a = [b, b]"),
        ("a = {1: 2, 3: 4}", "a = {3: 4, 1: 2}"),
        ("import numpy as np; a = np.eye(3)[::2]", "import numpy as np; a = np.eye(3)[:2]"),
        ("import numpy as np; a = np.ones((2, 3)).T", "import numpy as np; a = np.ones((3, 2))"),
        ("import pandas as pd; a = pd.Series([1])", "import pandas as pd; a = pd.Series([1.0])"),
        ("def a(): return 1", "def a(): return 2 + 1j"),
    ],
)
def test_values_that_differ_have_other_digests(one: str, two: str) -> None:
    first: dict[str, object] = {"__name__": "__main__"}
    again, second = dict(first), dict(first)
    exec(one, first)
    exec(one, again)
    exec(two, second)
    assert digests(first)["a"] == digests(again)["a"] != digests(second)["a"]
