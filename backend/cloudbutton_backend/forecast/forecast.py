"""Forecasts a job from its function and items: a quote for each backend, and a recommendation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.accounting import history
from cloudbutton_backend.accounting.history import JobHistory, told
from cloudbutton_backend.capture import capture
from cloudbutton_backend.cost.duration_samples import Samples, samples_of
from cloudbutton_backend.cost.measurements import Measurement, memory_needed, power_of
from cloudbutton_backend.cost.quotes import NO_ADVICE, Quote, Recommendation, advise
from cloudbutton_backend.cost.run_model import CostModel, predict
from cloudbutton_backend.dispatch.item_source import fixed
from cloudbutton_backend.errors import CloudError, JournalError
from cloudbutton_backend.forecast.candidates import set_up, terms_at
from cloudbutton_backend.forecast.sampling import WITHIN, sample
from cloudbutton_backend.job_model import BackendIdentity, Estimate, Expectation, JobOptions
from cloudbutton_backend.session.session import Session

_MOST_SAMPLES: Final = 200
_BOUNDS: Final = ("expected", "low", "high")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The time and cost of a job on each backend. Finding out costs nothing."""

    n_items: int | None
    rows: tuple[Quote, ...] = ()
    advice: Recommendation = NO_ADVICE
    basis: str = ""
    """What it rests on: `3 earlier runs`, `4 of 200 items run here, 1.2 s`."""
    memory_needed: int | None = None
    """MiB that a worker should have, by the most that was measured and headroom."""
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> Quote | None:
        """The quote for the options as they are."""
        return next((row for row in self.rows if row.is_asked), None)


def forecast(
    session: Session,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    options: JobOptions,
    *,
    backends: Sequence[str] | None = None,
    within: float = WITHIN,
) -> Forecast:
    """Return what running `function` over `items` would take and cost.

    Items of which the number is not known, as those of a generator, are left as they are.

    Parameters
    ----------
    backends
        Names of those to look at; None for all that are set up.
    within
        Seconds for which items may run here, if there are no earlier runs.

    Raises
    ------
    CaptureError
        If something that the function uses cannot travel.
    UnknownName
        If there is no such backend.
    """
    known = fixed(items)
    if known is None:
        note = "How many items there are is not known before they run: estimates need a list."
        return Forecast(n_items=None, notes=(note,))
    total = len(known)
    digest = capture(function, threshold=options.threshold_bytes).digest
    if not total:
        return Forecast(n_items=0, notes=("There are no items.",))
    session.journal.flush(1.0)
    home = session.journal.home
    jobs = _earlier(home, digest)
    measured = _from_history(home, jobs) or sample(function, known, options, within=within)
    if measured is None:
        note = f"No item ended within {within:g} s here, so nothing tells what they take."
        return Forecast(n_items=total, notes=(note,))
    return _compare(session, digest, jobs, measured, total, options, backends)


def forecast_again(
    session: Session, loops: Sequence[tuple[str, int]], options: JobOptions
) -> Forecast | None:
    """Return what jobs that ran before would take and cost if they ran again, one after the other.

    Parameters
    ----------
    loops
        Of each job, the digest of its code and how many items it has.
    """
    session.journal.flush(1.0)
    found = []
    for digest, total in loops:
        jobs = _earlier(session.journal.home, digest)
        measured = _from_history(session.journal.home, jobs)
        if measured is None:
            return None
        found.append(_compare(session, digest, jobs, measured, total, options, None))
    return found[0] if len(found) == 1 else together(found, options.budget)


def together(found: Sequence[Forecast], budget: float | None) -> Forecast | None:
    """Return what several jobs take and cost together, wherever all of them could run."""
    if not found:
        return None
    places: dict[tuple[BackendIdentity, int | None], list[Quote]] = {}
    for each in found:
        seen = set()
        for row in each.rows:
            place = (row.runs_on, row.memory)
            if place not in seen:  # the first is the one with most workers
                seen.add(place)
                places.setdefault(place, []).append(row)
    rows = tuple(_sum(quotes) for quotes in places.values() if len(quotes) == len(found))
    peaks = [each.memory_needed for each in found if each.memory_needed is not None]
    return Forecast(
        n_items=sum(each.n_items or 0 for each in found),
        rows=rows,
        advice=advise(rows, budget),
        basis=found[0].basis,
        memory_needed=max(peaks, default=None),
        notes=tuple(dict.fromkeys(note for each in found for note in each.notes)),
    )


def _sum(quotes: Sequence[Quote]) -> Quote:
    """Return one offer for several jobs at a place, one after the other."""
    seconds, dollars = (
        Expectation(*(sum(getattr(getattr(o, what), bound) for o in quotes) for bound in _BOUNDS))
        for what in ("seconds", "dollars")
    )
    return replace(
        quotes[0],
        workers=max(offer.workers for offer in quotes),
        seconds=seconds,
        dollars=dollars,
        is_asked=all(offer.is_asked for offer in quotes),
        is_roomy=all(offer.is_roomy for offer in quotes),
    )


def _compare(
    session: Session,
    digest: str,
    jobs: Sequence[JobHistory],
    measured: Measurement,
    total: int,
    options: JobOptions,
    backends: Sequence[str] | None,
) -> Forecast:
    home, samples = session.journal.home, samples_of(measured.seconds)
    rows: list[Quote] = []
    notes = _notes(measured)
    for name in backends if backends is not None else set_up(session, options):
        try:
            driver = session.driver(name)
            places = terms_at(driver, home, measured, total, options)
        except CloudError as error:
            if backends is not None:
                raise
            notes.append(f"{name}: {str(error).partition(chr(10))[0]}")
            continue
        is_asked = name == options.backend
        for number, terms in enumerate(places):
            rows.append(_offer(samples, total, terms, jobs, is_asked and not number))
    asked = next((row for row in rows if row.is_asked), None)
    if asked is not None and not asked.is_free:
        money = asked.dollars
        said = Estimate(money.expected, money.low, money.high, measured.basis, asked.seconds)
        told.tell(digest, asked.runs_on, asked.memory, total, said)
    return Forecast(
        n_items=total,
        rows=tuple(rows),
        advice=advise(rows, options.budget),
        basis=measured.basis,
        memory_needed=memory_needed(measured.memory_peak) if measured.memory_peak else None,
        notes=tuple(notes),
    )


def _offer(
    samples: Samples, total: int, terms: CostModel, jobs: Sequence[JobHistory], is_asked: bool
) -> Quote:
    """Return an offer: as predicted, or as the bills of earlier runs at the same place say."""
    found = predict(samples, total, terms)
    seconds, dollars = found.seconds, found.dollars
    if terms.rate is not None:
        bill = history.bill_of(jobs, terms.runs_on, terms.memory, total, time.time())
        if bill is not None:
            dollars = Expectation(bill.expected, bill.low, bill.high)
    return Quote(
        backend=terms.backend,
        emulated=terms.emulated,
        workers=terms.workers,
        memory=terms.memory,
        seconds=seconds,
        dollars=dollars,
        is_asked=is_asked,
        is_roomy=terms.is_roomy,
        notes=terms.notes,
    )


def _earlier(home: Path, digest: str) -> list[JobHistory]:
    try:
        return history.earlier_jobs(home, digest)
    except JournalError:
        return []  # then a few items have to tell


def _from_history(home: Path, jobs: Sequence[JobHistory]) -> Measurement | None:
    """Return what earlier runs measured, those at the place of the latest; None if there were none."""
    if not jobs:
        return None
    latest = jobs[0]
    alike = [job for job in jobs if (job.ran_on, job.memory) == (latest.ran_on, latest.memory)]
    try:
        found = history.stretches(home, alike)
    except JournalError:
        return None
    items, seconds = sum(each.items for each in found), sum(each.seconds for each in found)
    if not items or seconds <= 0:
        return None
    means = [each.seconds / each.items for each in found[:_MOST_SAMPLES]]
    # A stretch of many items counts as much as one of a few, but not for the mean.
    right = seconds / items / (sum(means) / len(means))
    memory = None if latest.is_here else latest.memory
    return Measurement(
        seconds=tuple(mean * right for mean in means),
        basis="1 earlier run" if len(alike) == 1 else f"{len(alike)} earlier runs",
        cpu_share=min(1.0, sum(each.cpu for each in found) / seconds),
        power=1.0 if memory is None else power_of(memory),
        here=latest.is_here,
        memory_peak=max(each.memory_peak for each in found),
    )


def _notes(measured: Measurement) -> list[str]:
    if not measured.failures:
        return []
    which = measured.failures[0]
    return [f"{len(measured.failures)} of them failed: {which}"]
