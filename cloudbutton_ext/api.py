"""The functions of the public API: thin, over the session of this process."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cloudbutton_backend import capture as _capture
from cloudbutton_backend import settings as _settings
from cloudbutton_backend.errors import UnknownName, UsageError, WrongArgument
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session import session as _session
from cloudbutton_backend.session.launcher import JobSource as _JobSource
from cloudbutton_backend.worker.calls import Spread
from cloudbutton_backend.worker.failures import short_repr

if TYPE_CHECKING:
    from cloudbutton_magic.cells.estimate_table import EstimateTable

_OPTIONS: Final = tuple(JobOptions.__dataclass_fields__)


def options_from(given: dict[str, Any]) -> JobOptions:
    """Return job options: what was given, over the settings, over the defaults.

    Raises
    ------
    UnknownName
        If there is no such option; it names the nearest one.
    """
    for name in given:
        if name not in _OPTIONS:
            raise UnknownName("option", name, _OPTIONS)
    known = _settings.SettingsValues.__dataclass_fields__
    asked = {name: value for name, value in given.items() if name in known and value is not None}
    resolved = _settings.resolve(**asked)
    values = {name: getattr(resolved, name) for name in _OPTIONS if name in known}
    values.update({name: value for name, value in given.items() if name not in known})
    return JobOptions(**values)


def map(
    function: Callable[..., Any], items: Iterable[Any], *more: Iterable[Any], **options: Any
) -> Job:
    """Start running `function` on every item; return at once with the job.

    The items are those of this moment: a list, dictionary or array may change while the job runs (but
    not what its elements hold). Iterators are pulled no further ahead than is needed; if one raises, the
    items before are still run, and the job then fails with that exception as its cause.

    A task may itself map. As all CPUs have a worker already, what it maps runs one item after the
    other in one more process beside its worker.

    Parameters
    ----------
    function
        Anything callable; it and the values that it uses travel to the workers.
    items
        A list, range or array, or any iterable.
    *more
        Further iterables of arguments, taken together as by the built-in `map`.
    **options
        `backend`, `workers`, `memory` (MiB), `timeout` (seconds per item), `retries`, `errors`
        (``"raise"`` or ``"keep"``), `seed` (of `rng`), `cache` (take results of earlier runs of the same
        code on the same items, and keep those of this one), `name`, `quiet`.

    Returns
    -------
    Job
        `results()` waits and returns the list; `as_completed()` yields as they finish; ``await`` works.

    Raises
    ------
    CaptureError
        If something that the function uses cannot travel; nothing was started then.
    UsageError
        If an option makes no sense.

    Examples
    --------
    >>> map(lambda x: x + 1, [1, 2, 3]).results()
    [2, 3, 4]
    """
    _check_callable(function)
    if more:
        # Pulled as far as needed unless all of it is available: one of them may be endless.
        together: Iterable[Any] = zip(items, *more)
        if all(operator.length_hint(each, -1) >= 0 for each in (items, *more)):
            together = list(together)
        return _session.current().map(Spread(function), together, options=options_from(options))
    return _session.current().map(function, items, options=options_from(options))


def _check_callable(function: object) -> None:
    if not callable(function):
        raise WrongArgument(f"The first argument must be callable, not {short_repr(function)}.")


def submit(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
    """Start one call of `function` in a worker; return at once with the job.

    Its `results()` is a list of one.
    """
    _check_callable(function)

    def call(_item: None) -> Any:
        return function(*args, **kwargs)

    name = getattr(function, "__name__", type(function).__name__)
    return _session.current().map(
        call, [None], options=options_from({}), origin=_JobSource(kind="submit", name=name)
    )


def map_reduce(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    reducer: Callable[[list[Any]], Any],
    **options: Any,
) -> Job:
    """Map, then reduce the list of all results in one task; return the job of the reduction.

    The monolithic reduce of PyWren (Jonas et al., *Occupy the Cloud*, SoCC 2017, section 3.2). The
    job's `results()` is a list of one: what `reducer` returned. The mapping is a job of its own,
    in `jobs()`; if it fails, so does the reduction, with the same exception as its cause.
    """
    _check_callable(function)
    _check_callable(reducer)
    chosen = options_from(options)
    session = _session.current()
    mapped = session.map(function, items, options=chosen)

    def lists() -> Iterator[list[Any]]:
        yield mapped.results()

    name = f"reduce of {mapped.name}"
    # What it reduces is known when it begins only: nothing can be looked for before.
    once = replace(chosen, cache=False)
    return session.map(
        reducer, lists(), options=once, origin=_JobSource(kind="map_reduce", name=name)
    )


def jobs() -> list[Job]:
    """Return the jobs of this process, newest first."""
    return _session.current().jobs()


def job(id: str) -> Job:
    """Return the job with this id, or the start of one.

    Raises
    ------
    UnknownName
        If there is none.
    UsageError
        If there is more than one.
    """
    return _session.current().job(id)


def attach(
    id: str,
    *,
    backend: str | None = None,
    budget: float | str | None = None,
    workers: int | None = None,
) -> Job:
    """Attach to a job of any process, however that ended; return at once.

    What has results is there and is not run again. What is missing runs here: of a job whose process was
    killed, whose machine went down, that failed or was cancelled. A job that runs elsewhere is
    followed, and one that is done is read from its files.

    Parameters
    ----------
    id
        Or the start of one; ``cloudbutton jobs`` lists them.
    backend, workers
        Where the rest runs, and on how many workers at most; None for what it had.
    budget
        US dollars for all that it spends, before and after; ``"+1.00"`` for that much more.

    Raises
    ------
    UnknownName
        There is no such job.
    UsageError
        It is an executor's, or runs in another process and is to be changed.
    """
    return _session.current().attach(id, backend=backend, budget=budget, workers=workers)


def use(backend: str, **settings: Any) -> None:
    """Make `backend` the default of this process.

    Raises
    ------
    UsageError
        If there is no such backend, or a setting of it makes no sense; nothing is changed then.
    """
    _session.current().use(backend, **settings)


def explain(function: Callable[..., Any]) -> _capture.CaptureReport:
    """Return what would travel with `function`: each value, its size, and how. Nothing is sent.

    Raises
    ------
    CaptureError
        If something cannot travel.
    """
    return _capture.explain(function)


def estimate(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    backend: str | None = None,
    within: float = 10.0,
    **options: Any,
) -> EstimateTable:
    """Return what mapping `function` over `items` would take and cost; nothing is spent.

    If the same code has run before, the estimate comes from its earlier runs. Otherwise a few of the items
    run here: the first, and others spread over all of them, in processes of their own that get the function
    and the items by value, so that nothing in this one changes. What they do to files and the like, they do.

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
    EstimateTable
        `rows`, each with `backend`, `workers`, `memory`, `seconds` and `dollars` (and these with `expected`,
        `low` and `high`, an interval of 90 %); `recommended`; `reason`; `basis`.

    Raises
    ------
    CaptureError
        If something that the function uses cannot travel.
    UsageError
        If an option makes no sense.
    """
    from cloudbutton_magic.cells.estimate_table import EstimateTable

    _check_callable(function)
    if not within > 0:
        raise UsageError(f"`within` must be above 0 seconds, not {within!r}.")
    given = options if backend is None else {**options, "backend": backend}
    chosen = None if backend is None else (backend,)
    return EstimateTable.of(function, items, options_from(given), backends=chosen, within=within)


def warm_up(timeout: float = 30.0) -> bool:
    """Wait until the workers of the default backend are up; return whether they are."""
    return _session.current().warm_up(timeout=timeout)


__all__: Sequence[str] = [
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
]
