"""Suggests a job's budget, and sizes its grants of a daily one. Pure."""

from __future__ import annotations

import math
from typing import Final

MARGIN: Final = 1.2
"""A job should get this many times what it is expected to cost."""


def enough_for(spent: float, budget: float, at_least: float, expected: float | None) -> float:
    """Return a budget, in round dollars, with which a job that stopped will probably end.

    Parameters
    ----------
    at_least
        What its next call would need.
    expected
        What all of it is expected to cost; None where that is not known.
    """
    likely = 2 * budget if expected is None else MARGIN * expected
    return round_up(max(likely, spent + 2 * at_least, 1.1 * budget))


def round_up(dollars: float, digits: int = 2) -> float:
    """Return the next number with `digits` significant digits."""
    if dollars <= 0:
        return 0.0
    places = digits - 1 - math.floor(math.log10(dollars))
    step = 10.0**-places
    return round(math.ceil(dollars / step - 1e-9) * step, max(0, places))


_DUST = 1e-12


def portion(left: float, at_least: float, wanted: float) -> float:
    """Return the dollars that a job is given; 0 if there are too few left for it.

    A job gets what it wants, but no more than half of what is left unless it needs that: another kernel
    may want to begin a job, too. What it does not spend comes back when it ends.

    Parameters
    ----------
    left
        Dollars of the day's budget that are neither spent nor given to anybody.
    at_least
        Without which it cannot go on.
    wanted
        With which it would not have to ask again soon.
    """
    if left <= 0 or at_least > left + _DUST:
        return 0.0
    return min(left, max(at_least, min(wanted, left / 2)))
