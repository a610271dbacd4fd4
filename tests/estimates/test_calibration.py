"""How often the interval holds the bill: varied jobs, run by the real dispatcher on imaginary environments.

`python -m benchmarks.calibration` does the same on the Lambda emulator, with a clock on the wall.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import lambda_rate
from cloudbutton_backend.cost.duration_samples import samples_of
from cloudbutton_backend.cost.run_model import CostModel, Prediction, UncertainValue, predict
from cloudbutton_backend.forecast.sampling import spread
from tests.support.simulator import simulate
from tests.support.worker_startup import Startup
from tests.support.workload import Work

RATE = lambda_rate("us-east-1", "x86_64", 1769, start_seconds=0.5)
KINDS: tuple[Callable[[random.Random], float], ...] = (
    lambda chance: 1.0,
    lambda chance: chance.uniform(0.5, 1.5),
    lambda chance: chance.lognormvariate(-0.125, 0.5),
    lambda chance: chance.lognormvariate(-0.5, 1.0),
    lambda chance: chance.expovariate(1.0),
    lambda chance: 2.5 if chance.random() < 0.3 else 0.36,
)
START = 0.5


def job(number: int) -> tuple[Prediction, float, float]:
    """Return what a job was expected to take and to cost, and what it took and cost."""
    chance = random.Random(number)
    mean = chance.choice([0.01, 0.1, 0.5, 3.0])
    items, workers = chance.choice([40, 200, 1000]), chance.choice([4, 50, 400])
    seconds = [mean * KINDS[number % len(KINDS)](chance) for _ in range(items)]
    limits = Limits(
        workers=workers,
        batch_seconds=1.5,
        queue_depth=1,
        rate=RATE,
        longest_call=900.0,
    )
    startup = Startup(seconds=START, billed=START)
    trace = simulate(
        [Work(seconds=seconds)], workers=workers, limits=limits, startup=startup, seed=number
    )
    terms = CostModel(
        backend="there", workers=workers, rate=RATE, batch_seconds=1.5,
        start=UncertainValue(START, 0.3), warm=UncertainValue(0.001, 0.5),
    )  # fmt: skip
    found = predict(samples_of([seconds[index] for index in spread(items)]), items, terms)
    return found, trace.makespan, trace.jobs["job"].spent


def test_at_least_85_of_100_bills_lie_in_the_interval_that_is_to_hold_90() -> None:
    held = 0
    for number in range(60):
        found, _, bill = job(number)
        held += found.dollars.holds(bill)
    assert held >= 0.85 * 60


def test_most_times_lie_in_theirs() -> None:
    held = 0
    for number in range(60):
        found, makespan, _ = job(number)
        held += found.seconds.holds(makespan)
    assert held >= 0.75 * 60
