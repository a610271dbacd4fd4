"""What Lambda allows, as of November 2026, with the figures that tests may lower."""

from __future__ import annotations

from dataclasses import dataclass


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
    """How long an environment that nobody uses is kept; Lambda does not say how long."""
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
