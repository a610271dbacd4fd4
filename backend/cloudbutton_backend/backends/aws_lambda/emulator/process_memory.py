"""How much memory a process and what it started use, as Linux tells."""

from __future__ import annotations

import os
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def of_tree(pid: int, limit: int) -> int:
    """Return the bytes that a process and its descendants have in memory.

    Pages that they share count for each of them at first, which is cheap to find out; only if that
    exceeds `limit` are they counted once.
    """
    family = _family(pid)
    total = sum(map(_resident, family))
    if total > limit and len(family) > 1:
        total = sum(map(_proportional, family))
    return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:  # grows while it is walked
        try:
            threads = os.listdir(f"/proc/{parent}/task")
            for thread in threads:
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                    found += map(int, file.read().split())
        except OSError:  # it has ended
            continue
    return found


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Pss:"))
            return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return 0
