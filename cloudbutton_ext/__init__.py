"""Run a notebook's loops on as many cores as they deserve: `%%cloud`, `cloud.map`, `cloud.Executor`.

>>> import cloudbutton_ext as cloud
>>> cloud.map(lambda x: x * x, range(4)).results()
[0, 1, 4, 9]

Importing this package is quick; what a name needs is imported when the name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_ext.integrations import joblib as _joblib_backend

if TYPE_CHECKING:
    from cloudbutton_backend.errors import CloudError
    from cloudbutton_backend.job.job import Job
    from cloudbutton_backend.worker.context import rng
    from cloudbutton_ext.api import (
        attach,
        estimate,
        explain,
        job,
        jobs,
        map,
        map_reduce,
        submit,
        use,
        warm_up,
    )
    from cloudbutton_ext.integrations.dask_graphs import dask_scheduler
    from cloudbutton_ext.integrations.executor import Executor

__version__ = "0.1.0"

__all__ = [
    "CloudError",
    "Executor",
    "Job",
    "attach",
    "dask_scheduler",
    "estimate",
    "explain",
    "job",
    "jobs",
    "map",
    "map_reduce",
    "rng",
    "submit",
    "use",
    "warm_up",
]

_WHERE: Final = {
    "CloudError": "cloudbutton_backend.errors",
    "Executor": "cloudbutton_ext.integrations.executor",
    "Job": "cloudbutton_backend.job.job",
    "dask_scheduler": "cloudbutton_ext.integrations.dask_graphs",
    "rng": "cloudbutton_backend.worker.context",
    **dict.fromkeys(
        (
            "attach",
            "estimate",
            "explain",
            "job",
            "jobs",
            "map",
            "map_reduce",
            "submit",
            "use",
            "warm_up",
        ),
        "cloudbutton_ext.api",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """Register ``%%cloud`` and ``%cloud`` (what ``%load_ext cloudbutton_ext`` calls)."""
    from cloudbutton_magic import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away again."""
    from cloudbutton_magic import unload_ipython_extension as unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell a Jupyter server where our endpoints are."""
    return [{"module": "cloudbutton_ext.server"}]


_joblib_backend.register_backend()
