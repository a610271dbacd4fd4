"""What a job is expected to cost, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """US dollars that a job is expected to cost, with a 90 % interval."""

    expected: float
    low: float
    high: float
    basis: str
    """What it rests on: `2 earlier runs`, `the first 8 items`; empty where that was not kept."""
