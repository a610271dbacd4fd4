"""How good estimates were: what jobs were expected to cost or take against what they did. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from cloudbutton_backend.job_model import Expectation


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What can be said of many estimates."""

    jobs: int
    median_error: float
    """Half of them were wrong by less than this part of what came: 0.07 is 7 %."""
    within: float
    """The share of them whose interval held what came."""


def accuracy(found: Iterable[tuple[Expectation, float]]) -> Accuracy | None:
    """Return how good estimates were, by each with what came; None where there is nothing to judge by.

    What cost nothing, or took no time, is left out: nothing can be wrong by a part of nothing.
    """
    judged = [(estimate, came) for estimate, came in found if came > 0]
    if not judged:
        return None
    return Accuracy(
        jobs=len(judged),
        median_error=statistics.median(
            abs(estimate.expected - came) / came for estimate, came in judged
        ),
        within=sum(estimate.holds(came) for estimate, came in judged) / len(judged),
    )
