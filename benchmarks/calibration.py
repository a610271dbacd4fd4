"""How good the estimates are: `python -m benchmarks.calibration` runs varied jobs on the Lambda emulator.

Each job is estimated three ways, each against its bill: beforehand from a few items run here, while it
runs from its first calls, and when it runs once more from that earlier run. An interval should hold
nine of ten bills. The emulator's bills are those of processes on this machine: how fast Lambda's
own are, it cannot tell.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cloudbutton_backend.accounting import history
from cloudbutton_backend.forecast import forecast
from cloudbutton_backend.job_model import Estimate, Expectation, JobOptions
from cloudbutton_backend.session import session
from cloudbutton_backend.units import dollars_between

WORKERS = 4


@dataclass(frozen=True)
class Case:
    """One job."""

    name: str
    function: Callable[[Any], Any]
    items: list[Any]
    memory: int


@dataclass(frozen=True)
class Outcome:
    """One estimate, and what came."""

    case: str
    basis: str
    estimate: Expectation
    bill: float
    seconds: Expectation | None
    took: float

    @property
    def error(self) -> float:
        """Part of the bill by which the estimate was off."""
        return abs(self.estimate.expected - self.bill) / self.bill


def nap(seconds: float) -> float:
    """Wait, as for somebody's server."""
    time.sleep(seconds)
    return seconds


def work(seconds: float) -> int:
    """Use a CPU."""
    until, n = time.process_time() + seconds, 0
    while time.process_time() < until:
        n += 1
    return n


def imports_first(seconds: float) -> float:
    """Import what takes a while, as a first line often does."""
    import asyncio
    import email.message
    import http.server
    import sqlite3
    import unittest.mock
    import xml.dom.minidom

    time.sleep(seconds)
    return seconds + 0 * len(
        (asyncio, email.message, http.server, sqlite3, unittest.mock, xml.dom.minidom)
    )


def with_arrays(seconds: float) -> float:
    """Use a package that the function has to bring along."""
    import numpy

    time.sleep(seconds)
    return float(numpy.ones(1000).sum())


def brings_much(seconds: float) -> bytes:
    """Return more than an answer carries, now and then."""
    time.sleep(seconds)
    return bytes(300_000)


DRAWS: dict[str, Callable[[random.Random, float], float]] = {
    "equal": lambda chance, mean: mean,
    "uniform": lambda chance, mean: mean * chance.uniform(0.5, 1.5),
    "log-normal 0.5": lambda chance, mean: mean * chance.lognormvariate(-0.125, 0.5),
    "log-normal 1": lambda chance, mean: mean * chance.lognormvariate(-0.5, 1.0),
    "exponential": lambda chance, mean: mean * chance.expovariate(1.0),
    "two kinds": lambda chance, mean: mean * (2.5 if chance.random() < 0.3 else 0.36),
}
FUNCTIONS = (nap, work, imports_first, nap, work, with_arrays, nap, brings_much)
SIZES = (1769, 512, 885, 3538)


def cases(count: int, seed: int) -> Iterator[Case]:
    """Yield jobs of all kinds, the same for the same seed."""
    chance = random.Random(seed)
    kinds = list(DRAWS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        function = FUNCTIONS[number % len(FUNCTIONS)]
        mean = chance.choice([0.004, 0.02, 0.06, 0.15])
        items = max(8, min(400, round(chance.uniform(4.0, 12.0) / mean)))
        if function is work:  # several of them share few CPUs
            items = max(8, items // 4)
        seconds = [DRAWS[kind](chance, mean) for _ in range(items)]
        name = f"{number}: {items} × {1000 * mean:g} ms, {kind}, {function.__name__}"
        yield Case(name, _own(function, number), seconds, SIZES[number % len(SIZES)])


def _own(function: Callable[[Any], Any], number: int) -> Callable[[Any], Any]:
    """Return a function whose code is its own, so that it has no earlier runs."""

    def item(seconds: float) -> Any:
        return function(seconds) if number >= 0 else None

    return item


def run(case: Case) -> Iterator[Outcome]:
    """Estimate and run one job, twice."""
    here = session.current()
    options = JobOptions(backend="lambda", memory=case.memory)
    before = forecast(here, case.function, case.items, options, backends=["lambda"]).asked
    assert before is not None, case
    history.told.forget()
    for attempt in range(2):
        began = time.monotonic()
        job = here.map(case.function, case.items, options=options)
        job.results()
        took = time.monotonic() - began
        here.journal.flush(10.0)
        if not attempt:
            yield Outcome(case.name, "items here", before.dollars, job.cost, before.seconds, took)
        said = job.estimate
        if said is not None:
            basis = "earlier run" if attempt else "first calls"
            yield Outcome(case.name, basis, _money(said), job.cost, said.seconds, took)


def _money(said: Estimate) -> Expectation:
    return Expectation(said.expected, said.low, said.high)


def report(outcomes: list[Outcome]) -> None:
    """Print how good each way of estimating was."""
    print(
        f"\n{'from':<12} {'jobs':>5} {'in the interval':>16} {'off by (median)':>16} {'time in its own':>16}"
    )
    for basis in ("items here", "first calls", "earlier run"):
        mine = [each for each in outcomes if each.basis == basis]
        if not mine:
            continue
        held = sum(each.estimate.holds(each.bill) for each in mine)
        timed = [each for each in mine if each.seconds is not None]
        in_time = sum(each.seconds is not None and each.seconds.holds(each.took) for each in timed)
        print(
            f"{basis:<12} {len(mine):>5} {held:>7} ({held / len(mine):>4.0%})"
            f" {statistics.median(each.error for each in mine):>16.0%}"
            f" {in_time:>9} of {len(timed)}"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["CLOUDBUTTON_HOME"] = home
        here = session.current()
        here.use("lambda", emulate=True, workers=WORKERS)
        outcomes: list[Outcome] = []
        for case in cases(chosen.jobs, chosen.seed):
            print(f"{case.name}, {case.memory:,} MiB")
            for each in run(case):
                outcomes.append(each)
                verdict = "held" if each.estimate.holds(each.bill) else "MISSED"
                print(
                    f"  {each.basis:<12} {dollars_between(each.estimate):<36}"
                    f" billed ${each.bill:<10.2g} {verdict}",
                    flush=True,
                )
        report(outcomes)
        here.close()


if __name__ == "__main__":
    main()
