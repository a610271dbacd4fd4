"""A job's budget: what it may still spend, and how long its next call may run. Pure arithmetic.

::

    budget ─┬─ spent       charged, or over without a charge: counts in full
            ├─ set aside   for each call in flight, the most that it can cost: `rate.at_most(lease)`
            └─ left        what the next call's lease is cut from

So long as a call's charge is no more than was set aside, spending cannot pass the budget, whatever is
late, lost or slow.

Where all jobs of a day together have a budget, a job spends only what it has been given of it. It asks for
more as it goes on, waits for the answer, and ends as at a budget of its own when it gets none.
"""

from __future__ import annotations

import math
from typing import Final

from cloudbutton_backend.cost.rates import Rate

CANARY_SECONDS: Final = 10.0
"""A lease before it is known how long items take."""
LEAST_SECONDS: Final = 1.0
"""No lease is shorter: a call has more to do than run items."""
HEADROOM: Final = 5.0
"""A lease is at least this many times what its items are expected to take …"""
TIGHT: Final = 1.5
"""… and this many where hardly any money is left."""
GROWTH: Final = 4.0
"""An item that was ended by its lease gets one this many times as long."""
_DUST: Final = 1e-12
"""Dollars below which a difference is floating-point arithmetic's."""


class JobBudget:
    """The money of one job.

    Parameters
    ----------
    budget
        Dollars that it may spend; None for as much as it takes.
    longest
        Seconds that a call may run on this platform; None for no limit.
    spent
        Dollars that were spent before.
    by_day
        Whether it may spend only what it is given of a day's budget.
    """

    __slots__ = (
        "_aside",
        "_asked",
        "asks",
        "budget",
        "committed",
        "given",
        "is_blocked",
        "is_empty",
        "is_refused",
        "is_waiting",
        "longest",
        "rate",
        "spent",
        "wanted",
    )

    def __init__(
        self,
        rate: Rate,
        budget: float | None,
        longest: float | None,
        spent: float = 0.0,
        *,
        by_day: bool = False,
    ) -> None:
        self.rate = rate
        self.budget = budget
        self.longest = math.inf if longest is None else longest
        self.spent = spent
        self.committed = 0.0
        self._aside: dict[int, float] = {}
        self.is_blocked = False
        """Whether the next call has to wait until one in flight is charged."""
        self.is_empty = False
        """Whether the next call cannot be afforded, and nothing in flight will change that."""
        self.wanted = 0.0
        """Dollars that it would need at least, then."""
        self.given = spent if by_day else None
        """Dollars of the day's budget that it has been given, what is spent included; None without one."""
        self.asks: tuple[float, float] | None = None
        """Dollars that it wants to be given: at least, and with which it would go on without asking soon."""
        self.is_waiting = False
        """Whether it has asked and not been answered."""
        self.is_refused = False
        """Whether it was given nothing when it last asked, for `_asked` dollars at least."""
        self._asked = 0.0

    def __repr__(self) -> str:
        of = "" if self.budget is None else f" of ${self.budget:.4f}"
        return f"<JobBudget: ${self.spent:.4f} spent, ${self.committed:.4f} set aside{of}>"

    @property
    def left(self) -> float:
        """Dollars that are neither spent nor set aside."""
        limit = self.limit
        return math.inf if limit is None else limit - self.spent - self.committed

    @property
    def limit(self) -> float | None:
        """Dollars that it may spend as things are: its budget, or what it has been given of the day's."""
        if self.given is None:
            return self.budget
        return self.given if self.budget is None else min(self.budget, self.given)

    @property
    def is_short_of_the_day(self) -> bool:
        """Whether it is the day's budget that is in its way, and not its own."""
        return self.given is not None and (self.budget is None or self.given < self.budget)

    def top_up(self, budget: float | None) -> None:
        """Set another budget for all that the job spends, before and after."""
        self.budget = budget
        self.is_empty = self.is_blocked = self.is_refused = False

    def give(self, dollars: float) -> None:
        """Add granted dollars; 0 if the grant was refused."""
        if self.given is None or not self.is_waiting:
            return
        self.is_waiting = self.is_blocked = False
        self.given += dollars
        self.is_refused = dollars <= 0

    def give_back(self) -> None:
        """Give up what was not spent: the job has ended."""
        if self.given is not None:
            self.given = self.spent
        self.asks, self.is_waiting = None, False

    def fair(self, share: int) -> float:
        """Return the lease that each of `workers` can count on, with half of what is left held back."""
        limit = self.limit
        if limit is None:
            return math.inf
        return self.rate.lease_for((limit - self.spent) / (2 * max(1, share)))

    def offer(self, need: float, least: float, share: int) -> float | None:
        """Return how long the next call may run, None if there is no money for it now.

        Where there is plenty, a lease is as long as the platform allows, so that no straggler is cut
        off; otherwise each of the job's workers can count on half its share of what is not spent.

        Parameters
        ----------
        need
            Seconds that the call should have.
        least
            Seconds with which it is still worth making.
        share
            Workers that the job may use.
        """
        if self.limit is None:
            return self.longest
        need = min(need, self.longest)
        lease = min(self.longest, max(need, self.fair(share)))
        if self._affords(lease):
            return lease
        if self._affords(need):
            return need
        if self.is_short_of_the_day and not self.is_refused:
            if not self.is_waiting and self.asks is None:
                self._ask(need, min(least, need), share)
            self.is_blocked = True
            return None
        if self._aside:
            # What is in flight will hardly cost all that was set aside for it.
            self.is_blocked = True
            return None
        least = min(least, self.longest)
        lease = min(self.longest, self.rate.lease_for(self.left))
        if lease >= least:
            return lease
        if self.is_short_of_the_day and self.rate.at_most(least) - self.left < self._asked - _DUST:
            # It was refused more than that: what a call should have, or before others were charged.
            self._ask(least, least, share)
            self.is_blocked = True
            return None
        self.is_empty, self.wanted = True, self.rate.at_most(least)
        return None

    def _ask(self, need: float, least: float, share: int) -> None:
        """Ask for more of the daily budget: what the next call needs at least, or should have."""
        longest = self.longest if math.isfinite(self.longest) else CANARY_SECONDS
        short = self.rate.at_most(least) - self.left
        # More than nothing in any case, so that asking comes to an end.
        at_least = short if short > _DUST else self.rate.at_most(need) - self.left
        wanted = max(at_least, 2 * share * self.rate.at_most(longest) - self.left)
        if self.budget is not None:
            room = self.budget - (self.given or 0.0)
            at_least, wanted = min(at_least, room), min(wanted, room)
        self.asks, self._asked = (at_least, wanted), at_least

    def affords_copy(self, lease: float) -> bool:
        """Whether a second copy of a call with this lease can be paid for."""
        return self.limit is None or self._affords(lease)

    def _affords(self, lease: float) -> bool:
        return self.rate.at_most(lease) <= self.left + _DUST

    def commit(self, call: int, lease: float) -> None:
        """Set money aside for a call that is made."""
        # Without an end to calls there is no most that one can cost, and no budget to keep.
        amount = self.rate.at_most(lease) if math.isfinite(lease) else 0.0
        self._aside[call] = amount
        self.committed += amount

    def settle(self, call: int, cost: float) -> None:
        """A call was charged; later charges of the same one are copies of the message."""
        if call in self._aside:
            self._release(call)
            self.spent += cost

    def close(self, call: int) -> None:
        """A call is over. Without a charge it counts in full."""
        if call in self._aside:
            self.spent += self._release(call)

    def _release(self, call: int) -> float:
        amount = self._aside.pop(call)
        self.committed = self.committed - amount if self._aside else 0.0
        self.is_blocked = False
        return amount


def needed(items: int, mean: float | None, slowest: float, grown: float) -> tuple[float, float]:
    """Return the lease that a call should have, and the least with which it is worth making.

    Parameters
    ----------
    items
        That the call would run.
    mean, slowest
        Seconds that items have taken on average and at most; None before any has ended.
    grown
        The lease that the first item should have, after shorter ones ended it.
    """
    longer = grown * TIGHT / GROWTH
    if mean is None:
        return max(CANARY_SECONDS, grown), max(LEAST_SECONDS, longer)
    need = max(LEAST_SECONDS, HEADROOM * items * mean, slowest, grown)
    return need, max(LEAST_SECONDS, TIGHT * mean, longer)


def fitting(items: int, lease: float, mean: float | None, headroom: float = TIGHT) -> int:
    """Return how many of the items a call should have, that its lease may be expected to suffice."""
    if not mean or math.isinf(lease):
        return items
    return max(1, min(items, math.floor(lease / (headroom * mean))))
