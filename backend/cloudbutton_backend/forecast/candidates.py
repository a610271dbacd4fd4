"""Finds the backends that could run a job as things are set up, and how each would run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from cloudbutton_backend.accounting import history
from cloudbutton_backend.backends.capabilities import QuotesTerms, TermsRequest
from cloudbutton_backend.cost.measurements import Measurement
from cloudbutton_backend.cost.overhead import CallOverhead
from cloudbutton_backend.cost.rates import Rate
from cloudbutton_backend.cost.run_model import CostModel, UncertainValue
from cloudbutton_backend.dispatch.driver import Driver
from cloudbutton_backend.errors import JournalError
from cloudbutton_backend.job_model import BackendIdentity, JobOptions
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.worker.pool.cpu_count import usable_cpus

_LOCAL_WAIT: Final = UncertainValue(0.02, 0.5)
_ELSEWHERE: Final = UncertainValue(1.0, 0.25)
"""How fast workers are of which nothing is known, compared with those here."""


def set_up(session: Session, options: JobOptions) -> list[str]:
    """Return the names of the backends that are set up: this machine, what the job is to use,
    and what has settings in a file or from `%cloud use`.
    """
    settings = {row.name.partition(".")[0] for row in session.all_settings() if "." in row.name}
    known = session.backends()
    return list(dict.fromkeys(["local", *sorted(settings & set(known)), options.backend]))


def terms_at(
    driver: Driver, home: Path | None, measured: Measurement, items: int, options: JobOptions
) -> Sequence[CostModel]:
    """Return how a backend would run a job; first, with what its options ask for.

    Raises
    ------
    CloudError
        If the backend cannot be used.
    """
    backend, limits = driver.backend, driver.backend.limits
    is_asked = options.backend == backend.name
    workers = options.workers if is_asked else None
    memory = options.memory if is_asked else None
    if isinstance(backend, QuotesTerms):
        request = TermsRequest(measured=measured, items=items, workers=workers, memory=memory)
        known = _overhead(home, driver.identity, backend.terms(request))
        return backend.terms(replace(request, overhead=known))
    there = min(workers or limits.workers, max(1, items))
    plain = CostModel(
        backend=driver.identity.name,
        emulated=driver.identity.emulated,
        workers=there,
        memory=memory,
        rate=limits.rate,
        batch_seconds=limits.batch_seconds,
        first_wave=limits.first_wave,
        wait=_LOCAL_WAIT,
    )
    if not limits.is_this_machine:
        return [replace(plain, pace=_ELSEWHERE)]
    power = min(1.0, usable_cpus() / there)
    return [replace(plain, pace=UncertainValue(measured.pace(power, waiting=measured.waiting)))]


def _overhead(
    home: Path | None, backend: BackendIdentity, terms: Sequence[CostModel]
) -> CallOverhead:
    """Return what calls took beside their items in earlier jobs there, if that is known."""
    rates = {each.memory: each.rate for each in terms if each.rate is not None}
    if not rates:
        return CallOverhead()
    usual, price = next(iter(rates.items()))

    def rate(memory: int | None) -> Rate:
        if memory in rates:
            return rates[memory]
        # The price of a second grows with the memory.
        part = memory / usual if memory and usual else 1.0
        return replace(price, per_second=price.per_second * part)

    try:
        return history.overhead(home, backend, rate)
    except JournalError:
        return CallOverhead()
