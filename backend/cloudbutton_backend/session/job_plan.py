"""Validates job options and translates them for the dispatcher and the backends."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Any, Final

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.dispatch.item_source import MANY
from cloudbutton_backend.dispatch.job_state import DispatchPlan
from cloudbutton_backend.errors import UnknownName, UsageError
from cloudbutton_backend.job.job import check_budget
from cloudbutton_backend.job_model import JobOptions

_AT_ONCE: Final = 3600.0
"""Seconds of work in one batch of a detached job where a call may run for any time."""


def plan_of(job_id: str, options: JobOptions, limits: Limits) -> DispatchPlan:
    """Return what the dispatcher must know of a job, but for its items."""
    return DispatchPlan(
        job_id=job_id,
        n_items=None,
        workers=options.workers,
        retries=options.retries,
        stop_on_error=options.errors == "raise",
        backup=options.backup,
        budget=options.budget,
        at_once=_at_once(options, limits),
    )


def _at_once(options: JobOptions, limits: Limits) -> float | None:
    """Return the work in one batch of a job that goes on when this process ends; None for others."""
    if not (options.detach and limits.can_outlive):
        return None
    return _AT_ONCE if limits.longest_call is None else limits.longest_call / 2


def drawn_seed() -> int:
    """Return a random seed."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def all_of(items: Iterable[Any]) -> list[Any]:
    """Return all that an iterable gives.

    Raises
    ------
    UsageError
        It gives more than anybody can keep.
    """
    given = list(itertools.islice(items, MANY + 1))
    if len(given) > MANY:
        raise UsageError(
            f"A detached job's items are all written down before it starts; these are more than {MANY:,}."
        )
    return given


def length_of(items: Any) -> int | None:
    """Return how many items there are, None where that is not known or not said."""
    try:
        return len(items)
    except (TypeError, NotImplementedError, OverflowError):
        return None


def kind_of(value: Any) -> str:
    """Return what a value is, in words: `an int`."""
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiou" else f"a {name}"


def check(options: JobOptions) -> None:
    """Refuse options that make no sense, before anything is started.

    Raises
    ------
    UsageError
        Naming the option, its value and what it must be.
    """
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"`workers` must be at least 1, not {options.workers}.")
    if options.timeout is not None and options.timeout <= 0:
        raise UsageError(f"`timeout` must be above 0 seconds, not {options.timeout:g}.")
    if options.retries < 0:
        raise UsageError(f"`retries` must be 0 or more, not {options.retries}.")
    if options.errors not in ("raise", "keep"):
        raise UnknownName("error mode", str(options.errors), ("raise", "keep"))
    check_budget(options.budget)
    if options.seed is not None and options.seed < 0:
        raise UsageError(f"`seed` must be 0 or more, not {options.seed}.")
    if options.memory is not None and options.memory < 1:
        raise UsageError(f"`memory` must be at least 1 MiB, not {options.memory}.")


def plain(options: JobOptions) -> dict[str, Any]:
    """Return options by name, as the journal keeps them."""
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def cwd() -> str:
    """Return the working directory, the user's own where it was removed."""
    try:
        return os.getcwd()
    except OSError:  # the directory was removed
        return os.path.expanduser("~")
