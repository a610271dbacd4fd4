"""Counts the CPUs that this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def _cgroup_quota(root: Path) -> float | None:
    """Return the CPU quota of this process's control group, in CPUs; None if there is none."""
    try:  # version 2
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        group = next((line.split("::", 1)[1] for line in lines if line.startswith("0::")), "/")
        base = root / "sys/fs/cgroup"
        best: float | None = None
        path = base / group.lstrip("/")
        while True:
            limit = path / "cpu.max"
            if limit.exists():
                quota, period = limit.read_text().split()
                if quota != "max":
                    cpus = int(quota) / int(period)
                    best = cpus if best is None else min(best, cpus)
            if path == base or base not in path.parents:
                break
            path = path.parent
        if best is not None:
            return best
    except (OSError, ValueError, IndexError):
        pass
    try:  # version 1
        base = root / "sys/fs/cgroup/cpu"
        quota_us = int((base / "cpu.cfs_quota_us").read_text())
        period_us = int((base / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    except (OSError, ValueError):
        return None


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that affinity and control group leave to this process, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_quota(root)
    if quota is not None:
        count = min(count, math.ceil(quota))
    return max(1, count)


#: What the usual numerical libraries read at import.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def thread_limits(environment: dict[str, str], workers: int) -> dict[str, str]:
    """Return the variables that keep `workers` processes from oversubscribing the CPUs.

    What the user set is left alone.
    """
    share = str(max(1, usable_cpus() // max(1, workers)))
    return {name: share for name in THREAD_VARIABLES if name not in environment}
