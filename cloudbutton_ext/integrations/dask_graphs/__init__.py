"""Dask's collections on any backend: `dask.compute(…, scheduler=cloud.dask_scheduler("lambda"))`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudbutton_backend.backends.extras import require

if TYPE_CHECKING:
    from cloudbutton_ext.integrations.dask_graphs.scheduler import DaskScheduler

__all__ = ["dask_scheduler"]


def dask_scheduler(backend: str | None = None, **options: Any) -> DaskScheduler:
    """Return a scheduler for Dask that runs tasks on a Cloud Button backend.

    It goes where Dask takes a scheduler: ``x.compute(scheduler=…)``, `dask.compute`, `dask.persist`, or
    ``dask.config.set(scheduler=…)``.

    Parameters
    ----------
    backend
        ``"local"``, ``"lambda"``, …; None for the one in use when something is computed.
    **options
        As for `cloud.map`, but for `errors`: `workers`, `memory`, `timeout` (seconds per task),
        `retries`, `budget` (for each `compute`), `name`, …

    Raises
    ------
    UsageError
        If an option makes no sense.
    MissingExtra
        If Dask is not installed.

    Examples
    --------
    >>> import dask
    >>> total = dask.delayed(sum)([dask.delayed(abs)(-1), dask.delayed(abs)(-2)])
    >>> total.compute(scheduler=dask_scheduler())
    3
    """
    require("dask")
    from cloudbutton_ext.integrations.dask_graphs.scheduler import DaskScheduler

    scheduler = DaskScheduler(backend, options)
    scheduler.job_options({})  # fail early
    return scheduler
