"""The engines the harness knows, in the order of the report."""

from __future__ import annotations

from typing import Final

from benchmarks.model import EngineSpec

_ADAPTERS: Final = "benchmarks.engines."

ENGINES: Final = (
    EngineSpec("cloudbutton", _ADAPTERS + "cloudbutton", "cloudbutton_ext", True, role="ours"),
    EngineSpec("floor", _ADAPTERS + "floor", "cloudpickle", True, role="floor"),
    EngineSpec("concurrent.futures", _ADAPTERS + "futures", "concurrent.futures.process", False),
    EngineSpec("multiprocessing.Pool", _ADAPTERS + "pool", "multiprocessing.pool", False),
    EngineSpec("loky", _ADAPTERS + "loky", "loky", True),
    EngineSpec("joblib", _ADAPTERS + "joblib", "joblib", True),
    EngineSpec("mpire", _ADAPTERS + "mpire", "mpire", False),
    EngineSpec(
        "cloudbutton on dask",
        _ADAPTERS + "on_dask",
        "cloudbutton_ext",
        True,
        role="sibling",
        by_invitation=True,
    ),
    EngineSpec("dask", _ADAPTERS + "dask", "distributed", True, by_invitation=True),
    EngineSpec("dask.bag", _ADAPTERS + "dask_bag", "dask.bag", True, by_invitation=True),
    EngineSpec("ray", _ADAPTERS + "ray", "ray", True, by_invitation=True),
)
