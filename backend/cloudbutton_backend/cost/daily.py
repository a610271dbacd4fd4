"""How much of a day's budget a job is given when it asks: pure arithmetic."""

from __future__ import annotations

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
