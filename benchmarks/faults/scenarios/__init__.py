"""All scenarios: what is done in each, and how often unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.scenarios import (
    clocks,
    crashes,
    crowds,
    disks,
    kernels,
    memory,
    simulated,
    workers,
)
from benchmarks.faults.tally import Tally


@dataclass(frozen=True)
class Scenario:
    """One kind of trouble."""

    name: str
    run: Callable[[int, Path], Tally]
    """Does it once: takes a seed and an empty folder."""
    seeds: int
    """How often it is done."""

    @property
    def done(self) -> str:
        """What is done, in a sentence."""
        text = " ".join((self.run.__doc__ or "").split("\n\n")[0].split())
        return text.rstrip(".")


ALL = (
    Scenario("worker-killed", workers.killed, 100),
    Scenario("worker-stopped", workers.stopped, 10),
    Scenario("kernel-killed", kernels.killed, 200),
    Scenario("two-attach", kernels.contended, 20),
    Scenario("crash-points", crashes.at_a_write, len(crashes.TRIALS)),
    Scenario("disk-full", disks.full, 20),
    Scenario("disk-slow", disks.slow, 5),
    Scenario("clock-jumps", clocks.jumping, 20),
    Scenario("large-results", memory.large_results, 1),
    Scenario("50-jobs", crowds.threads, 20),
    Scenario("two-kernels", crowds.kernels, 20),
    Scenario("simulated", simulated.dispatcher, 100),
)
