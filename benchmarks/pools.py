"""A cell's engine, started, warm, and closed when the process ends."""

from __future__ import annotations

import atexit
import importlib

from benchmarks.engines.base import BaseEngine
from benchmarks.machine import usable_cpus
from benchmarks.model import Cell
from benchmarks.notebook import noop_for


def start(cell: Cell, *, warm_maps: int = 3) -> BaseEngine:
    """Return the cell's engine after `warm_maps` two-item maps.

    It is closed at exit, not by the case: a pool that cannot shut down after a worker's death must
    not cost the reading that was already taken.
    """
    engine: BaseEngine = importlib.import_module(cell.engine.module).Engine(usable_cpus())
    atexit.register(engine.close)
    noop = noop_for(cell.engine)
    for _ in range(warm_maps):
        if engine.map(noop, [1, 2]) != [2, 3]:
            raise AssertionError(f"{cell.engine.name} computed 1 + 1 and 2 + 1 wrongly")
    return engine
