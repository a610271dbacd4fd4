"""The rate at which calls are billed. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_NOISE: Final = 1e-6
"""Part of a step below which a remainder is floating-point arithmetic's, not the meter's."""


def round_up(seconds: float, step: float) -> float:
    """Return `seconds` as they are billed: the next multiple of `step`."""
    if step <= 0:
        return seconds
    return math.ceil(seconds / step - _NOISE) * step


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The price of calls to one kind of worker. Money is US dollars."""

    per_second: float
    """For each second that a call is billed."""
    per_call: float = 0.0
    """For the call itself and the requests that go with it, at most, however long it takes."""
    start_seconds: float = 0.0
    """Billed on top, at most, where a call starts a new environment."""
    step: float = 0.0
    """Billed time is rounded up to multiples of this many seconds."""
    note: str | None = None
    """For the user: why this price may not be the true one."""

    def cost(self, seconds: float) -> float:
        """Return what a call costs that ran for `seconds`."""
        if not self.per_second:  # time may be without end then
            return self.per_call
        return self.per_call + self.per_second * round_up(seconds, self.step)

    def at_most(self, lease: float) -> float:
        """Return the most that a call can cost which is ended after `lease` seconds."""
        return self.cost(lease + self.start_seconds)

    def lease_for(self, money: float) -> float:
        """Return the longest lease that `money` pays for; not above 0 if it pays for none."""
        if self.per_second <= 0:
            return math.inf if money >= self.per_call else 0.0
        seconds = (money - self.per_call) / self.per_second
        if self.step > 0:
            seconds = math.floor(seconds / self.step) * self.step
        return seconds - self.start_seconds
