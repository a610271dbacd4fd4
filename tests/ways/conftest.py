"""A shell with two local workers, and the cells by which each way in runs one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudbutton_backend.session import session
from tests.magic.conftest import Run, _the_shell, run, shell

__all__ = ["WAYS", "Along", "_the_shell", "run", "shell"]

#: Cells that run the notebook's `f` for the items 0, 1 and 2, and leave what it returns in `values`.
WAYS = {
    "the plain loop": "values = [f(x) for x in range(3)]",
    "the button": "%%cloud --force\nvalues = [f(x) for x in range(3)]",
    "%%cloud map": "%%cloud map x in range(3) -> values --quiet\nf(x)",
    "%%cloud run": "%%cloud run -> values --quiet\nvalues = [f(x) for x in range(3)]",
    "cloud.map": "values = cloud.map(f, range(3)).results()",
    "Executor": "with cloud.Executor(2) as executor:\n    values = list(executor.map(f, range(3)))",
    "Pool.map": "with Pool(2) as pool:\n    values = pool.map(f, range(3))",
    "Pool.apply_async": (
        "with Pool(2) as pool:\n"
        "    values = [r.get() for r in [pool.apply_async(f, (x,)) for x in range(3)]]"
    ),
    "joblib": (
        "with joblib.parallel_config('cloudbutton'):\n"
        "    values = joblib.Parallel(n_jobs=2)(joblib.delayed(f)(x) for x in range(3))"
    ),
    "Dask's graphs": (
        "calls = [dask.delayed(f)(x) for x in range(3)]\n"
        "values = list(dask.compute(*calls, scheduler=cloud.dask_scheduler()))"
    ),
}
IMPORTS = """
import cloudbutton_ext as cloud, dask, joblib
import cloudbutton_ext.integrations.joblib
from cloudbutton_ext.multiprocessing import Pool
"""

Along = Callable[..., Any]


@pytest.fixture
def along(run: Run, shell: Any) -> Along:
    """Runs a cell that defines `f`, then `f` along one way, in workers unless that is the plain loop."""

    def go(way: str, setup: str) -> Any:
        before = session.current().jobs()[:1]
        for cell in (IMPORTS, setup, WAYS[way]):
            ran = run(cell)
            if ran.error is not None:
                raise ran.error
        assert "ran here" not in ran.out, ran.out
        assert (session.current().jobs()[:1] != before) == (way != "the plain loop")
        return shell.user_ns["values"]

    return go
