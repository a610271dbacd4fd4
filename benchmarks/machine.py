"""How many workers every engine gets on this machine."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Return the CPUs this process may use, at least two so that every case has company."""
    if hasattr(os, "sched_getaffinity"):
        return max(2, len(os.sched_getaffinity(0)))
    return max(2, os.cpu_count() or 2)
