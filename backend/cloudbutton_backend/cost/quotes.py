"""The places where a job could run, with time and price, and which of them to take. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.job_model import BackendIdentity, Expectation

_WORTH_PAYING: Final = 30.0
"""Seconds that a job must take where it is free before another place is worth money …"""
_SOONER: Final = 2.0
"""… which must be this many times as fast."""
_AS_GOOD: Final = 1.25
"""Times that are no more than this part apart are as good as the same: then the cheaper one is better."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A place, what the job takes there, and what it costs."""

    backend: str
    workers: int
    emulated: bool = False
    """Whether it emulates another backend, and costs nothing."""
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
    def runs_on(self) -> BackendIdentity:
        return BackendIdentity(self.backend, self.emulated)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The quote to take, and why."""

    offer: Quote | None
    why: str = ""


NO_ADVICE: Final = Recommendation(None)


def advise(quotes: Sequence[Quote], budget: float | None = None) -> Recommendation:
    """Return which offer to take: never one whose memory may not suffice, and one that cannot be had as
    things are, or only stands in for another place, only where there is nothing else.

    Parameters
    ----------
    budget
        Dollars that the job may cost.
    """
    quotes = [offer for offer in quotes if offer.is_roomy]
    quotes = [offer for offer in quotes if not offer.notes] or quotes
    real = [offer for offer in quotes if not offer.emulated] or quotes
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
            return Recommendation(
                None, "every place may cost more than the budget" if priced else ""
            )
        return Recommendation(free, why if len(real) > 1 or priced else "it is free")
    if free is None:
        return Recommendation(paid, _among_paid(paid, within))
    gain = free.seconds.expected - paid.seconds.expected
    if gain <= 0:
        return Recommendation(free, "it is free, and nothing else is sooner")
    if free.seconds.expected <= _WORTH_PAYING:
        return Recommendation(free, "it is free, and soon done")
    times = free.seconds.expected / max(paid.seconds.expected, 1e-9)
    if times < _SOONER:
        return Recommendation(
            free, f"it is free, and the others are no more than {times:.1f} times as fast"
        )
    rounded = f"{times:.1f}" if times < 10 else f"{times:,.0f}"
    return Recommendation(
        paid, f"{rounded} times as fast as {free.runs_on}; {_among_paid(paid, within)}"
    )


def _best_of(quotes: Sequence[Quote]) -> Quote | None:
    """Return the cheapest of the offers that are about as fast as the fastest."""
    if not quotes:
        return None
    fastest = min(map(_seconds, quotes))
    return min((o for o in quotes if _seconds(o) <= _AS_GOOD * fastest), key=_dollars)


def _among_paid(paid: Quote, quotes: Sequence[Quote]) -> str:
    if len(quotes) == 1:
        return "the only one that has a price"
    if _dollars(paid) <= min(map(_dollars, quotes)):
        return "the cheapest, and hardly slower than the fastest"
    return "the cheapest of those that are about as fast"


def _seconds(offer: Quote) -> float:
    return offer.seconds.expected


def _dollars(offer: Quote) -> float:
    return offer.dollars.expected
