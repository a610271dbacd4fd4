"""`--cache` on cells: in another kernel, too, what ran before is not run again."""

from __future__ import annotations

import pytest

from cloudbutton_backend.job_model import JobState, Progress
from cloudbutton_backend.journal import JobRow
from cloudbutton_magic.commands.job_lists import JobListing
from cloudbutton_magic.display.view_model import view_of
from tests.cache.test_attach_cell import ABOVE, Kernels
from tests.cache.test_attach_cell import kernels as kernels

BUTTON = """%%cloud --cache
points = []
for x in {items}:
    points.append(work(x))
"""

MAP = """%%cloud map x in iter({items}) -> points --cache
work(x)
"""


@pytest.mark.parametrize("cell", [BUTTON, MAP], ids=["button", "map"])
def test_after_one_item_changed_one_item_runs(kernels: Kernels, cell: str) -> None:
    check = "assert [type(p) is Point and p.x for p in points] == [3 * n for n in {items}]"
    first, second = [1, 2, 3, 4, 5, 6], [1, 2, 30, 4, 5, 6]
    for items, ran in ((first, first), (second, [*first, 30])):
        said = kernels.run(
            kernels.settings(),
            ABOVE,
            cell.format(items=items),
            check.format(items=items),
            "from cloudbutton_ext import jobs\n"
            "get_ipython().run_line_magic('cloud', f'explain {jobs()[0].id}')",
        )
        assert [each["error"] for each in said] == [None] * 5, said
        assert sorted(kernels.ran) == sorted(ran)
        assert [line for line in said[2]["out"].splitlines() if line.startswith("item")] == [
            f"item {n}" for n in items
        ]
        assert "Results are found in the cache by" in said[4]["out"]
    assert "5 from the cache" in said[2]["out"]


def test_a_function_that_another_cell_changed_runs_again(kernels: Kernels) -> None:
    cell = MAP.format(items=[1, 2])
    kernels.run(kernels.settings(), ABOVE, cell)
    moved = "# a comment\n\n" + ABOVE + "\nunused = 1"
    assert kernels.run(kernels.settings(), moved, cell)[-1]["error"] is None
    assert sorted(kernels.ran) == [1, 2]
    kernels.run(kernels.settings(), ABOVE.replace("x * len", "len"), cell)
    assert sorted(kernels.ran) == [1, 1, 2, 2]


def test_what_a_kernel_has_imported_beside_makes_no_other_key(kernels: Kernels) -> None:
    cell = BUTTON.format(items=[1, 2])
    kernels.run(kernels.settings(), ABOVE, cell)
    kernels.run(kernels.settings(), ABOVE + "\nimport numpy, pandas, sklearn, decimal", cell)
    assert sorted(kernels.ran) == [1, 2]
    kernels.run(kernels.settings(), ABOVE + "\nimport decimal; decimal.getcontext().prec = 5", cell)
    assert sorted(kernels.ran) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("done", "cached", "words"),
    [(40, 37, "37 from the cache"), (40, 40, "all from the cache"), (40, 0, "on local")],
)
def test_the_summary_says_how_many_were_found(done: int, cached: int, words: str) -> None:
    progress = Progress(
        job_id="abc", name="ys", backend="local", state=JobState.DONE, total=40, done=done,
        failed=0, running=0, workers=0, elapsed=1.0, task_seconds=0.0, cached=cached,
    )  # fmt: skip
    row = JobRow(
        id="abc", name="ys", kind="map", backend="local", n_items=40, created=0.0, pid=1, host="here",
        state=JobState.DONE, done=done, ended=1.0, cached=cached,
    )  # fmt: skip
    for headline in (view_of(progress).headline, repr(JobListing(row, 2.0))):
        assert words in headline and ("cache" in headline) == (cached > 0)
