"""Faults of an emulated account, as data: rates with a seed, and scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Fault = Literal[
    "throttle",
    "server_error",
    "crash_before",
    "crash_after",
    "timeout",
    "lost_answer",
    "slow_start",
    "duplicate",
]
"""
throttle        429 TooManyRequestsException, though there would be room
server_error    500 ServiceException; nothing ran
crash_before    the environment dies as the handler is about to run
crash_after     the handler has run, but the environment dies before its answer is out
timeout         as if the handler had not ended in time: billed for all of it, reported at once
lost_answer     the handler has run and is billed, but the caller's connection breaks
slow_start      an environment that has to be started for it takes `slow_start_seconds` longer
duplicate       an asynchronous event is delivered twice
"""


@dataclass(frozen=True, kw_only=True)
class EmulatedFaults:
    """Probabilities of each fault for each invocation, and what happens to certain ones.

    Which invocation meets which fault depends on the seed and on its number alone: the first request
    to arrive is number 1. An asynchronous event draws again for each delivery.
    """

    throttle: float = 0.0
    server_error: float = 0.0
    crash: float = 0.0
    """Half of them before the handler ran, half of them after."""
    timeout: float = 0.0
    lost_answer: float = 0.0
    slow_start: float = 0.0
    slow_start_seconds: float = 1.0
    duplicate_async: float = 0.0
    script: Mapping[int, Fault] = field(default_factory=dict)
    """Faults of invocations by number, instead of a draw."""
    role_not_ready: int = 0
    """This many creations of a function are refused because the new role cannot be assumed yet."""
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = set(self.script.values()) - set(get_args(Fault))
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}; known: {get_args(Fault)}")


def fault_of(faults: EmulatedFaults, number: int, delivery: int = 0) -> Fault | None:
    """Return what happens to an invocation; at most one thing does."""
    if delivery == 0 and number in faults.script:
        return faults.script[number]
    draw = _draw(faults.seed, number, delivery)
    for fault, rate in (
        ("throttle", faults.throttle),
        ("server_error", faults.server_error),
        ("crash_before", faults.crash / 2),
        ("crash_after", faults.crash / 2),
        ("timeout", faults.timeout),
        ("lost_answer", faults.lost_answer),
        ("slow_start", faults.slow_start),
        ("duplicate", faults.duplicate_async),
    ):
        if draw < rate:
            return fault  # type: ignore[return-value]
        draw -= rate
    return None


def _draw(*key: int) -> float:
    """Return a number in [0, 1) that depends on `key` alone, the same on every machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
