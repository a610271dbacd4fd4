"""`cloud.estimate`: what a map would take and cost, wherever it could run, before it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cloudbutton_backend.errors import UsageError, WrongArgument
from cloudbutton_backend.worker.failures import short_repr
from cloudbutton_ext.api import options_from
from cloudbutton_magic.cells.estimate_table import EstimateTable


def estimate(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    backend: str | None = None,
    within: float = 10.0,
    **options: Any,
) -> EstimateTable:
    """Return what mapping `function` over `items` would take and cost; nothing is spent.

    If the same code has run before, its earlier runs tell. Otherwise a few of the items run here: the
    first, and others spread over all of them, in processes of their own that get the function and the
    items by value, so that nothing in this one changes. What they do to files and the like, they do.

    Parameters
    ----------
    items
        A list, range or array: where their number is not known, there is no estimate.
    backend
        Where to run; None to compare this machine with all that is set up.
    within
        Seconds for which items may run here.
    **options
        As of `map`: `workers`, `memory`, `budget`, …

    Returns
    -------
    Estimates
        `rows`, each with `backend`, `workers`, `memory`, `seconds` and `dollars` (and these with `expected`,
        `low` and `high`: nine of ten times it comes to lie between them); `recommended`; `reason`; `basis`.

    Raises
    ------
    CaptureError
        If something that the function uses cannot travel.
    UsageError
        If an option makes no sense.
    """
    if not callable(function):
        raise WrongArgument(f"The first argument must be callable, not {short_repr(function)}.")
    if not within > 0:
        raise UsageError(f"`within` must be above 0 seconds, not {within!r}.")
    given = options if backend is None else {**options, "backend": backend}
    chosen = None if backend is None else (backend,)
    return EstimateTable.of(function, items, options_from(given), backends=chosen, within=within)
