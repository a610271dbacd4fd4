"""Runs a scenario with many seeds, one after the other or several at once."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.faults.scenarios import ALL
from benchmarks.faults.tally import Tally


def once(name: str, folder: str | None, seed: int) -> Tally:
    """Run a scenario with one seed, in a folder that is removed after."""
    (scenario,) = [each for each in ALL if each.name == name]
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder) as place:
        try:
            return scenario.run(seed, Path(place))
        except Exception:
            return Tally(surprises=(f"seed {seed}: {traceback.format_exc()}",))


def tallies(name: str, folder: str | None, seeds: range, at_once: int) -> Iterator[Tally]:
    """Yield what came of a scenario with each seed."""
    run = functools.partial(once, name, folder)
    if at_once == 1:
        yield from map(run, seeds)
        return
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_once, mp_context=fresh) as pool:
        yield from pool.map(run, seeds)
