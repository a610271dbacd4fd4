"""Lambda's limits as of November 2026, and whether they admit an invocation now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LambdaLimits:
    """The quotas of the emulated account and the rhythm of the emulated service."""

    concurrency: int = 10
    """Executions of the whole account at one time. New accounts have 10, older ones 1,000; it is
    also how many processes this machine will have to bear."""
    burst: int = 1000
    """Execution environments that one function may add at once, …"""
    burst_seconds: float = 10.0
    """… and the seconds in which that allowance fills up again, steadily."""
    request_bytes: int = 6_291_456
    """Largest payload of a synchronous invocation (6 MB)."""
    response_bytes: int = 6_291_556
    """Largest answer; Lambda allows 100 bytes more than it says."""
    event_bytes: int = 1_048_576
    """Largest payload of an asynchronous invocation (1 MB)."""
    init_seconds: float = 10.0
    """Time for the initialisation; when it is over, it starts again at the function's expense."""
    idle_seconds: float = 300.0
    """How long an idle environment is kept; Lambda does not say how long."""
    pending_seconds: float = 0.2
    """How long a function is Pending after its creation, or its update InProgress."""
    retry_seconds: tuple[float, ...] = (60.0, 120.0)
    """Waits before an asynchronous event whose function failed is delivered again."""
    event_age_seconds: float = 21_600.0
    """Age at which an asynchronous event is dropped (six hours)."""
    unzipped_bytes: int = 262_144_000
    """Largest code with its layers, unzipped (250 MB)."""
    zipped_bytes: int = 52_428_800
    """Largest zip file in a request (50 MB); through S3 only `unzipped_bytes` counts."""
    layers: int = 5
    """Layers of a function."""
    freeze: bool = True
    """Whether environments are stopped between invocations, as Lambda does: threads that a handler
    left behind do not run then."""


Reason = Literal[
    "ConcurrentInvocationLimitExceeded",
    "ReservedFunctionConcurrentInvocationLimitExceeded",
    "FunctionInvocationRateLimitExceeded",
    "CallerRateLimitExceeded",
]


@dataclass(frozen=True)
class ThrottleReason:
    """An invocation is refused."""

    reason: Reason
    retry_after: float
    """Seconds after which trying again makes sense."""


@dataclass(frozen=True)
class ConcurrencyAllowance:
    """The number of environments that a function may add: a token bucket."""

    tokens: float
    at: float

    @classmethod
    def full(cls, limits: LambdaLimits, now: float) -> ConcurrencyAllowance:
        return cls(float(limits.burst), now)

    def at_time(self, now: float, limits: LambdaLimits) -> ConcurrencyAllowance:
        """Return what the allowance has grown to."""
        gained = (now - self.at) * limits.burst / limits.burst_seconds
        return ConcurrencyAllowance(min(float(limits.burst), self.tokens + gained), now)

    def less_one(self) -> ConcurrencyAllowance:
        return ConcurrencyAllowance(self.tokens - 1, self.at)


@dataclass(frozen=True, kw_only=True)
class AccountLoad:
    """The load of the account at the moment an invocation arrives."""

    running: int
    """Executions of this function."""
    reserved: int | None
    """Concurrency set aside for this function, if any."""
    unreserved_running: int
    """Executions of all functions without a reservation."""
    reserved_by_all: int
    """Concurrency set aside in the whole account."""
    warm: bool
    """Whether an environment of the function waits for work."""


def refusal(
    load: AccountLoad, allowance: ConcurrencyAllowance, limits: LambdaLimits
) -> ThrottleReason | None:
    """Return why an invocation is throttled, or None if it may run."""
    if load.reserved is not None:
        if load.running >= load.reserved:
            return ThrottleReason("ReservedFunctionConcurrentInvocationLimitExceeded", 1.0)
    elif load.unreserved_running >= limits.concurrency - load.reserved_by_all:
        return ThrottleReason("ConcurrentInvocationLimitExceeded", 1.0)
    if not load.warm and allowance.tokens < 1:
        wait = (1 - allowance.tokens) * limits.burst_seconds / limits.burst
        return ThrottleReason("FunctionInvocationRateLimitExceeded", wait)
    return None


def reservation_refusal(wanted: int, others: int, limits: LambdaLimits) -> str | None:
    """Return why so much concurrency cannot be set aside for a function, if it cannot."""
    floor = min(100, limits.concurrency)
    if limits.concurrency - others - wanted >= floor or wanted == 0:
        return None
    return (
        "Specified ReservedConcurrentExecutions for function decreases account's "
        f"UnreservedConcurrentExecution below its minimum value of [{floor}]."
    )
