"""An imaginary day's budget, shared by the jobs of a simulation."""

from __future__ import annotations

import random

from cloudbutton_backend.cost.budgets import portion
from cloudbutton_backend.dispatch.actions import AskForMoney


class FakeDailyBudget:
    """Gives money to jobs, and takes back what they have not spent.

    Parameters
    ----------
    per_day
        Dollars that all of them may spend together.
    """

    def __init__(self, per_day: float, seed: int) -> None:
        self.per_day = per_day
        self._given: dict[str, float] = {}
        self._chance = random.Random(seed)

    def takes(self) -> float:
        """Return the seconds until it answers."""
        return self._chance.choice([0.0, 0.002, 0.5])

    def give(self, asks: AskForMoney) -> float:
        """Return what a job gets."""
        left = self.per_day - sum(self._given.values())
        dollars = portion(left, asks.at_least, asks.wanted)
        self._given[asks.job_id] = self._given.get(asks.job_id, 0.0) + dollars
        return dollars

    def settle(self, job_id: str, spent: float) -> None:
        """A job has ended, and cost so much at most."""
        if job_id in self._given:
            self._given[job_id] = spent
