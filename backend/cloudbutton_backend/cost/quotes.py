"""The places where a job could run, with time and price, and which of them to take. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.job_model import EMULATED, Expectation

_WORTH_PAYING: Final = 30.0
"""Seconds that a job must take where it is free before another place is worth money …"""
_SOONER: Final = 2.0
"""… which must be so many times as fast."""
_AS_GOOD: Final = 1.25
"""Times that are no more than this part apart are as good as the same: then the cheaper one is better."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A place, what the job takes there, and what it costs."""

    backend: str
    """As jobs there are recorded."""
    workers: int
    memory: int | None = None
    """MiB of each worker, where that is chosen."""
    seconds: Expectation
    dollars: Expectation
    is_asked: bool = False
    """Whether it is what would run with the options as they are."""
    is_roomy: bool = True
    """Whether its memory suffices by what was measured, with headroom."""
    notes: tuple[str, ...] = ()
    """Why it may not be had, or may not be as said."""

    @property
    def is_free(self) -> bool:
        return self.dollars.high <= 0

    @property
    def is_emulated(self) -> bool:
        """Whether it stands in for another place, and nobody pays."""
        return self.backend.endswith(EMULATED)


@dataclass(frozen=True, slots=True)
class Advice:
    """Which offer to take, and why."""

    offer: Offer | None
    why: str = ""


NO_ADVICE: Final = Advice(None)


def advise(offers: Sequence[Offer], budget: float | None = None) -> Advice:
    """Return which offer to take: never one whose memory may not suffice, and one that cannot be had as
    things are, or only stands in for another place, only where there is nothing else.

    Parameters
    ----------
    budget
        Dollars that the job may cost.
    """
    offers = [offer for offer in offers if offer.is_roomy]
    offers = [offer for offer in offers if not offer.notes] or offers
    real = [offer for offer in offers if not offer.is_emulated] or offers
    free = min((o for o in real if o.is_free), key=_seconds, default=None)
    priced = [o for o in real if not o.is_free]
    within = [o for o in priced if budget is None or o.dollars.high <= budget]
    paid = _best_of(within)
    if paid is None:
        why = (
            "nothing else is set up"
            if not priced
            else "anything else may cost more than the budget"
        )
        if free is None:
            return Advice(None, "every place may cost more than the budget" if priced else "")
        return Advice(free, why if len(real) > 1 or priced else "it is free")
    if free is None:
        return Advice(paid, _among_paid(paid, within))
    gain = free.seconds.expected - paid.seconds.expected
    if gain <= 0:
        return Advice(free, "it is free, and nothing else is sooner")
    if free.seconds.expected <= _WORTH_PAYING:
        return Advice(free, "it is free, and soon done")
    times = free.seconds.expected / max(paid.seconds.expected, 1e-9)
    if times < _SOONER:
        return Advice(
            free, f"it is free, and the others are no more than {times:.1f} times as fast"
        )
    rounded = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
    return Advice(paid, f"{rounded} times as fast as {free.backend}; {_among_paid(paid, within)}")


def _best_of(offers: Sequence[Offer]) -> Offer | None:
    """Return the cheapest of the offers that are about as fast as the fastest."""
    if not offers:
        return None
    fastest = min(map(_seconds, offers))
    return min((o for o in offers if _seconds(o) <= _AS_GOOD * fastest), key=_dollars)


def _among_paid(paid: Offer, offers: Sequence[Offer]) -> str:
    if len(offers) == 1:
        return "the only one that has a price"
    if _dollars(paid) <= min(map(_dollars, offers)):
        return "the cheapest, and hardly slower than the fastest"
    return "the cheapest of those that are about as fast"


def _seconds(offer: Offer) -> float:
    return offer.seconds.expected


def _dollars(offer: Offer) -> float:
    return offer.dollars.expected
