"""Our Dask backend through the public API, at its defaults: a cluster on this machine, made on demand."""

from __future__ import annotations

from benchmarks.engines import cloudbutton
from cloudbutton_ext import use


class Engine(cloudbutton.Engine):
    """`cloud.map` after `cloud.use("dask")`."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        use("dask", workers=workers)
