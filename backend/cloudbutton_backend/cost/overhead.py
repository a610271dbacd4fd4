"""What calls are billed beside their items, as earlier calls tell. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.cost.durations import quantile
from cloudbutton_backend.cost.model import Uncertain

_LEAST: Final = 4
"""Calls without which nothing is concluded."""
_LEAST_SECONDS: Final = 1e-4
_NARROWEST, _WIDEST = 0.4, 1.0
"""Of the spread: the next job may find another day."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """Seconds that calls took on top; None where not enough of them are known."""

    start: Uncertain | None = None
    """Of a call that began an environment, without what its code imports."""
    warm: Uncertain | None = None
    """Of any other."""
    may_be_warm: bool = False
    """Whether a job ran there so lately that its environments may still be there."""


def overhead_of(
    starts: Sequence[float], warm: Sequence[float], *, may_be_warm: bool = False
) -> Overhead:
    """Return what is usual, given what was billed beyond items for calls of either kind."""
    # The code of some of them has imported much, so the quicker half tells what a start takes by itself.
    # Some have brought results that were too large for an answer; that is counted apart.
    return Overhead(
        _usual(sorted(starts)[: -(-len(starts) // 2)]),
        _usual(sorted(warm)[: -(-len(warm) * 3 // 4)]),
        may_be_warm,
    )


def _usual(ordered: Sequence[float]) -> Uncertain | None:
    if len(ordered) < _LEAST:
        return None
    low = max(_LEAST_SECONDS, quantile(ordered, 0.16))
    high = max(low, quantile(ordered, 0.84))
    # Calls differ more than the mean of many does, which is what goes into a bill.
    spread = math.log(high / low) / 4
    mean = max(_LEAST_SECONDS, sum(ordered) / len(ordered))
    return Uncertain(mean, min(max(spread, _NARROWEST), _WIDEST))
