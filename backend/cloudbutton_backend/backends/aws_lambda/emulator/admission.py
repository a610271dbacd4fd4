"""Decides whether an invocation may run now: concurrency and scaling rate. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloudbutton_backend.backends.aws_lambda.emulator.limits import LambdaLimits

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
    """How many environments a function may add: a bucket that fills steadily."""

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
    """What runs in the account at the moment an invocation arrives."""

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
