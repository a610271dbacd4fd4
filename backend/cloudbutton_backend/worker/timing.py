"""A function that tells how long it took, in place of its result: for estimates from a few items."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cloudbutton_backend.worker.runner import run_delay

_begun = False
"""Whether this process has run a timed item before."""


class Timing(NamedTuple):
    """The times of one item, in seconds."""

    wall: float
    cpu: float
    waited: float
    """For a CPU, as far as known."""
    loaded: float
    """CPU time of the process before its first item: its start, and the imports that the code needs;
    0 for other items."""
    result_bytes: int
    error: str
    """In a line; empty where all was well."""


class TimedFunction:
    """Calls a function and returns a `Timing`; what the function returns or raises goes no further."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, item: Any) -> Timing:
        global _begun
        loaded = 0.0 if _begun else time.process_time()
        _begun = True
        result, error = None, ""
        waited, cpu, wall = run_delay(), time.process_time(), time.perf_counter()
        try:
            result = self._function(item)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}".partition("\n")[0]
        wall = time.perf_counter() - wall
        cpu, waited = time.process_time() - cpu, run_delay() - waited
        return Timing(wall, cpu, waited, loaded, _size(result), error)


def _size(result: Any) -> int:
    """Return about how many bytes a result is; 0 if unknown."""
    if result is None:
        return 0
    try:
        return len(pickle.dumps(result, 5))
    except Exception:  # it refers to the notebook, say: the job itself will know how to send it
        return 0
