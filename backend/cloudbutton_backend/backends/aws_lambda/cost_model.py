"""Models how Lambda would run a job's items: memory sizes to choose among, speed, starts, prices.

Sources, as of November 2026: one vCPU comes with every 1,769 MiB, see `cost.measured.VCPU`; a function gets
1,000 more environments every 10 s (docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html). How fast a
vCPU is compared with a CPU here, and how long an environment takes to start, is not known before jobs
have run there: what stands here is assumed, with a spread, until the journal knows better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from cloudbutton_backend.backends.aws_lambda.resource_names import Arch
from cloudbutton_backend.backends.aws_lambda.settings import LambdaSettings
from cloudbutton_backend.backends.protocol import Limits
from cloudbutton_backend.cost import Rate, lambda_rate, storage_prices
from cloudbutton_backend.cost.measurements import (
    Measurement,
    fits,
    lanes_of,
    memory_needed,
    power_of,
    sizes_for,
)
from cloudbutton_backend.cost.overhead import CallOverhead
from cloudbutton_backend.cost.run_model import CostModel, UncertainValue, items_per_call
from cloudbutton_backend.worker.aws_lambda.call_wire import ASK_EVERY, INLINE_ANSWER

#: What is worth comparing: parts of a vCPU, whole ones, and the most there is.
SIZES: Final = (512, 885, 1769, 3538, 7076, 10_240)
_SPEED: Final = 0.85
_SPEED_SPREAD: Final = 0.25
"""Of a vCPU, half a core of a server, compared with a CPU here: assumed."""
_DRIFT: Final = 0.08
"""Of what items take there over what they took here, though they use no CPU."""
_LANES_SPREAD: Final = 0.3
"""The same where a call runs several at a time: how well they fill it depends on their order."""
_START: Final = UncertainValue(0.4, 0.5)
_EMULATED_START: Final = UncertainValue(0.2, 0.5)
_WARM: Final = UncertainValue(0.008, 0.6)
"""Seconds that calls are billed beyond their items: assumed."""
_LOADING: Final = 1.5
"""Factor by which loading packages from a layer takes longer the first time: assumed."""
_BATCH_BYTES: Final = 4 << 20
"""As `dispatch.batching` bounds the bytes of a batch."""
_LOAD_SPREAD: Final = 0.6
_STORED_PER_SECOND, _STORED_SPREAD = 25e6, 0.9
"""Bytes of results that go into storage, where they do not fit into an answer: assumed."""
_WAIT, _EMULATED_WAIT = UncertainValue(1.0, 0.6), UncertainValue(0.3, 0.8)
"""Until a call begins: the function is looked up, values are sent."""
_BURST, _PER_SECOND = 1000, 100.0


@dataclass(frozen=True, slots=True)
class PricedFunction:
    """Functions to be priced: their settings, region and limits."""

    settings: LambdaSettings
    region: str
    backend: str
    """Its name."""
    limits: Limits
    cpus: int
    """Of this machine: what emulated functions share."""


def cost_model_of(
    function: PricedFunction,
    measured: Measurement,
    overhead: CallOverhead,
    workers: int,
    memory: int,
) -> CostModel:
    """Return how functions of one memory size would run what was measured.

    Parameters
    ----------
    overhead
        What calls took beside their items in earlier jobs, as far as known.
    """
    settings, batch_seconds = function.settings, function.limits.batch_seconds
    lanes, waiting = lanes_of(memory), 0.0
    if settings.emulate:
        waiting = measured.waiting / 2  # other users of the CPUs may be through by then, or not
        power, speed, unsure = min(1.0, function.cpus / max(1, workers)), 1.0, 0.25
        assumed, loading, wait = _EMULATED_START, 1.0 / power, _EMULATED_WAIT
    elif measured.here:
        power, speed, unsure = power_of(memory), _SPEED, _SPEED_SPREAD
        assumed, loading, wait = _START, _LOADING / (power * speed), _WAIT
    else:
        power, speed, unsure = power_of(memory), 1.0, 0.05
        assumed, loading, wait = _START, _LOADING / power, _WAIT
    start, warm = overhead.start or assumed, overhead.warm or _WARM
    load = measured.load * loading
    if load:  # it may be there already, from an earlier job
        start = UncertainValue(start.median + load, max(start.spread, _LOAD_SPREAD))
    per_call = items_per_call(measured.mean, batch_seconds, lanes)
    if measured.result_bytes * per_call > _BATCH_BYTES:
        per_call = max(1, int(_BATCH_BYTES / measured.result_bytes))
        batch_seconds = per_call * measured.mean
    answer = measured.result_bytes * per_call
    if answer > INLINE_ANSWER:
        warm = UncertainValue(warm.median + answer / _STORED_PER_SECOND, _STORED_SPREAD)
    return CostModel(
        backend=function.backend,
        emulated=function.settings.emulate,
        workers=workers,
        memory=memory,
        rate=_usual_rate(function.region, settings.arch, memory, is_stored=answer > INLINE_ANSWER),
        batch_seconds=batch_seconds,
        first_wave=function.limits.first_wave,
        lanes=lanes,
        pace=UncertainValue(
            measured.pace(power, speed, waiting),
            math.hypot(
                unsure * measured.cpu_share,
                _DRIFT,
                _LANES_SPREAD if lanes > 1 else 0.0,
                math.log1p(waiting),
            ),
        ),
        start=start,
        # Where starts are known, warm ones are among them; but for what this code imports.
        may_be_warm=overhead.may_be_warm and (overhead.start is None or load > 0),
        warm=warm,
        wait=wait,
        burst=None if settings.emulate else _BURST,
        per_second=math.inf if settings.emulate else _PER_SECOND,
        is_roomy=fits(memory, measured.memory_peak),
        notes=_notes(settings, memory, measured),
    )


def _usual_rate(region: str, arch: Arch, memory: int, *, is_stored: bool) -> Rate:
    """Return what a call usually costs; results that do not fit into an answer take a PUT and a GET."""
    requests = int(is_stored)
    rate = lambda_rate(region, arch, memory, puts=requests, gets=requests, start_seconds=0.0)
    # While it runs, it asks now and then whether it must stop.
    return replace(rate, per_second=rate.per_second + storage_prices(region).get / ASK_EVERY)


def _notes(settings: LambdaSettings, memory: int, measured: Measurement) -> tuple[str, ...]:
    notes = []
    if not fits(memory, measured.memory_peak):
        needed = memory_needed(measured.memory_peak, lanes_of(memory))
        notes.append(f"too small: needs {needed:,} MiB")
    if not settings.emulate and memory != settings.memory:
        notes.append("if deployed")
    return tuple(notes)


def memories(settings: LambdaSettings, measured: Measurement, asked: int | None) -> list[int]:
    """Return the memory sizes to choose among; what was asked for is among them, though it be too small."""
    usual = asked or settings.memory
    found = sizes_for(measured.memory_peak, SIZES, usual)
    return sorted({*found, usual})
