"""Estimates what calls are billed beyond their items, from earlier calls. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.cost.duration_samples import quantile
from cloudbutton_backend.cost.run_model import UncertainValue

_LEAST: Final = 4
"""Calls without which nothing is concluded."""
_LEAST_SECONDS: Final = 1e-4
_NARROWEST, _WIDEST = 0.4, 1.0
"""Of the spread: the next job may find another day."""


@dataclass(frozen=True, slots=True)
class CallOverhead:
    """Overhead of calls in seconds; None where too few of them are known."""

    start: UncertainValue | None = None
    """Of the first call of a worker: it may have begun an environment, or found one, and its code may have
    imported much or little, so this is known within wide bounds only."""
    warm: UncertainValue | None = None
    """Of any other."""
    may_be_warm: bool = False
    """Whether a job ran there so lately that its environments may still be there."""


NO_OVERHEAD: Final = CallOverhead()


def overhead_of(
    starts: Sequence[float], warm: Sequence[float], *, may_be_warm: bool = False
) -> CallOverhead:
    """Return what is usual, given what was billed beyond items for calls of either kind."""
    return CallOverhead(_of_starts(sorted(starts)), _of_warm(sorted(warm)), may_be_warm)


def _of_starts(ordered: Sequence[float]) -> UncertainValue | None:
    if len(ordered) < _LEAST:
        return None
    # All environments of a job start alike, cold or warm: their mean is no surer than one of them.
    return UncertainValue(max(_LEAST_SECONDS, quantile(ordered, 0.5)), _bounded(_spread(ordered)))


def _of_warm(ordered: Sequence[float]) -> UncertainValue | None:
    if len(ordered) < _LEAST:
        return None
    # Some have brought results that were too large for an answer; that is counted apart.
    usual = ordered[: -(-len(ordered) * 3 // 4)]
    # Calls differ more than the mean of many does, which is what goes into a bill.
    mean = max(_LEAST_SECONDS, sum(usual) / len(usual))
    return UncertainValue(mean, _bounded(_spread(usual) / 2))


def _spread(ordered: Sequence[float]) -> float:
    """Return the spread of the logarithms, by the middle two thirds."""
    low = max(_LEAST_SECONDS, quantile(ordered, 0.16))
    return math.log(max(low, quantile(ordered, 0.84)) / low) / 2


def _bounded(spread: float) -> float:
    return min(max(spread, _NARROWEST), _WIDEST)
