"""How imaginary workers come up: all at once, or as a provider lets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Startup:
    """How workers come up."""

    seconds: float = 0.0
    spread: float = 0.0
    """Up to this many seconds more, at random."""
    burst: int = 0
    """This many at once, …"""
    per_second: float | None = None
    """… and then no more than this many each second, as a provider that throttles."""
    billed: float = 0.0
    """Seconds that a worker's first call is charged on top, where calls have a price."""

    def ready(self, number: int) -> float:
        """Return when worker `number` is there, but for what is random."""
        late = max(0, number - self.burst)
        return self.seconds + (late / self.per_second if self.per_second else 0.0)


LAMBDA: Final = Startup(seconds=0.3, spread=0.4, burst=1000, per_second=100.0, billed=0.5)
"""As AWS publishes it: a function gets up to 1,000 more environments every 10 seconds
(docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html). What a cold start takes is a guess."""
