"""What one call costs, as a rate: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The price of calls to one kind of worker. Money is US dollars."""

    per_second: float
    """For each second that a call is billed."""
    per_call: float = 0.0
    """For the call itself and the requests that go with it, however long it takes."""
    start_seconds: float = 0.0
    """Billed on top, at most, where a call starts a new environment."""

    def cost(self, seconds: float) -> float:
        """Return what a call costs that was billed for `seconds`."""
        return self.per_call + self.per_second * seconds

    def at_most(self, lease: float) -> float:
        """Return the most that a call can cost which is ended after `lease` seconds."""
        return self.cost(lease + self.start_seconds)
