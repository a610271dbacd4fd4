"""Whether the rest of a loop is worth sending away: arithmetic, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StartOverhead:
    """What the engine costs, in seconds."""

    start: float = 0.12
    """Until the first results are back, workers being warm."""
    item: float = 0.0002
    """Per item, for its journey there and back."""


def decide(
    elapsed: float,
    done: int,
    remaining: int,
    workers: int,
    overhead: StartOverhead = StartOverhead(),
) -> Literal["stay", "go"]:
    """Return whether `remaining` items finish sooner elsewhere.

    Parameters
    ----------
    elapsed, done
        The time that the items run so far took, and how many they were.
    remaining
        How many are left, as far as known.
    workers
        How many run at the same time elsewhere.
    """
    if not done or not remaining or workers < 1:
        return "stay"
    each = elapsed / done
    here = each * remaining
    there = overhead.start + max(each, here / workers) + overhead.item * remaining
    # A gain of a few per cent is not worth the risk of a wrong guess.
    return "go" if there < 0.85 * here else "stay"
