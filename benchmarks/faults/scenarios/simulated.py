"""The dispatcher alone: a million items on ten thousand imaginary workers, where all goes wrong at once."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.faults.tally import Tally
from cloudbutton_backend.backends.protocol import Limits
from tests.support.invariants import BrokenPromise
from tests.support.scripted_faults import (
    Crashes,
    DoubledResults,
    LateResults,
    LostResults,
    Stragglers,
    Throttled,
)
from tests.support.simulator import simulate
from tests.support.worker_startup import Startup
from tests.support.workload import Work, log_normal

TURN = 0.002
"""Seconds that the dispatcher takes for what has arrived; with so many workers it is never idle."""


def dispatcher(seed: int, folder: Path, n_items: int = 1_000_000, n_workers: int = 10_000) -> Tally:
    """Crash workers, throttle calls, slow items down, lose, double and delay messages; all by dice."""
    del folder
    chance = random.Random(seed)
    limits = Limits(
        workers=n_workers,
        can_revoke=chance.random() < 0.5,
        can_duplicate=chance.random() < 0.5,
        batch_seconds=chance.choice([0.1, 0.5, 2.0]),
        queue_depth=chance.choice([1, 2]),
        retry_delay=0.2,
        first_wave=chance.choice([None, 10]),
    )
    faults = (
        Crashes(1e-4, chance.choice(["item", "batch", "nothing"])),
        Throttled(0.01, 1.0),
        Stragglers(1e-4, chance.choice([20.0, 200.0])),
        LostResults(1e-3),
        LateResults(1e-3, 0.5),
        DoubledResults(1e-3),
    )
    work = Work(
        seconds=log_normal(n_items, chance.choice([0.002, 0.005, 0.01]), 1.0, seed),
        stop_on_error=False,
    )
    began = time.perf_counter()
    try:
        trace = simulate(
            [work],
            workers=n_workers,
            faults=faults,
            limits=limits,
            startup=Startup(seconds=0.3, spread=0.4, burst=n_workers // 10, per_second=5000.0),
            latency=0.005,
            turn=TURN,
            seed=seed,
        )
    except BrokenPromise as broken:
        return Tally(items=n_items, surprises=(f"seed {seed}: {broken}",))
    job = trace.jobs["job"]
    ended = job.accepted.count(1) + len(job.failed)
    # An item that lost its worker or its result three times has failed, as promised.
    return Tally(
        struck=sum(trace.faults.values()),
        items=n_items,
        lost=n_items - ended,
        recomputed=sum(max(0, runs - 1) for runs in job.runs),
        most={
            "µs of the dispatcher for one item": 1e6 * trace.host_seconds_per_item,
            "seconds for one seed": time.perf_counter() - began,
            "failed items, as promised after three losses": len(job.failed),
            "makespan over the ideal": trace.slowdown,
        },
    )
