"""What a run costs: prices, the most that a call can cost, what was billed."""

from cloudbutton_backend.cost.rates import Rate

__all__ = ["Rate"]
