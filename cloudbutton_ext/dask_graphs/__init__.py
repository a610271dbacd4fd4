"""Dask's collections on any backend: `dask.compute(…, scheduler=cloud.dask_scheduler("lambda"))`."""

from __future__ import annotations

from cloudbutton_ext.dask_graphs.scheduler import Scheduler, dask_scheduler

__all__ = ["Scheduler", "dask_scheduler"]
