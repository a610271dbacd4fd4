"""How much of the machine other programs took while a reading was made."""

from __future__ import annotations

import time

import psutil


def _machine_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    return sum(float(times.get(kind, 0.0)) for kind in ("user", "nice", "system", "irq", "softirq"))


def _own_seconds() -> float:
    own = psutil.Process().cpu_times()
    return float(own.user + own.system + own.children_user + own.children_system)


class Neighbours:
    """Counts from its creation; right once all processes of ours have been waited for."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._foreign_before = _machine_seconds() - _own_seconds()

    def cpus(self) -> float:
        """Return the CPUs that others kept busy, on average."""
        foreign = _machine_seconds() - _own_seconds() - self._foreign_before
        return max(0.0, foreign / (time.perf_counter() - self._since))
