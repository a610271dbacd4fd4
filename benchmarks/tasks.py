"""The functions that engines run.

Engines that send code by value get them as a notebook would define them, in `__main__`; the others
import this module. So it imports nothing of ours, and each function works from either place.
"""

import os
import time
from collections.abc import Callable
from typing import Any


def add_one(x: int) -> int:
    """Do nothing worth the trip."""
    return x + 1


def make_adder(n: int) -> Callable[[int], int]:
    """Return the closure twin of `add_one`."""

    def add(x: int) -> int:
        return x + n

    return add


def spin(seconds: float) -> float:
    """Use `seconds` of CPU time; return what was really used, by this thread's own clock."""
    start = time.thread_time()
    while True:
        used = time.thread_time() - start
        if used >= seconds:
            return used


def same(value: Any) -> Any:
    """Send the value back."""
    return value


def make_slice_sum(big: Any, pieces: int) -> Callable[[int], float]:
    """Return a closure over `big`, which sums one of its `pieces`."""
    step = len(big) // pieces

    def total(index: int) -> float:
        return float(big[index * step : (index + 1) * step].sum())

    return total


def deadly(marker: str, only_once: bool, index: int) -> int:
    """Return `index`, but item 37 notes its first death in `marker` and kills its worker."""
    if index == 37:
        try:
            with open(marker, "x") as file:
                file.write(repr(time.monotonic()))
            died_before = False
        except FileExistsError:
            died_before = True
        if not (died_before and only_once):
            os._exit(1)
    spin(0.002)
    return index
