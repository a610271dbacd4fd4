"""Estimates of a job's time and cost, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expectation:
    """A figure that is not known yet, with a 90 % interval."""

    expected: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether what came lies in the interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """US dollars that a job is expected to cost, with a 90 % interval."""

    expected: float
    low: float
    high: float
    basis: str
    """What it rests on: `2 earlier runs`, `the first 8 items`; empty where that was not kept."""
    seconds: Expectation | None = None
    """From its beginning to its last result; None where nothing is known of that."""
