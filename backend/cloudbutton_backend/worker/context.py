"""The context of a task: its job's seed and its item's index, hence its random numbers."""

from __future__ import annotations

from typing import Any


class Context:
    """The item being run in this process; one at a time.

    While a batch runs, the item's index follows from how many values there are, so that keeping it
    up to date costs nothing.
    """

    __slots__ = ("drew", "first", "generator", "job_id", "key", "seed", "values")

    def __init__(self) -> None:
        self.job_id = ""
        self.seed = 0
        self.first = -1
        self.values: list[Any] | None = None
        self.key: tuple[str, int] | None = None
        self.generator: Any = None
        self.drew: list[int] = []
        """Items that asked for their generator: their results depend on seed and index."""

    @property
    def index(self) -> int:
        """The item's index in its job, -1 if none is being run."""
        return self.first if self.values is None else self.first + len(self.values)

    def at(self, index: int) -> None:
        """Set the context to one item, outside a batch."""
        self.first, self.values = index, None


current = Context()


_outside: Any = None
"""The generator for code that runs in no task."""


def rng() -> Any:
    """Return the random generator of the item being run.

    It depends on the job's seed and the item's index alone, so results do not depend on the
    backend, the number of workers or the batch. Calls within one item return the same generator, which
    goes on where it was.

    Outside a task, as when a cell with a loop is run here, it is a generator of this process, seeded by
    the operating system: independent as well, but not repeatable.

    Returns
    -------
    numpy.random.Generator
        PCG64 seeded by ``SeedSequence(entropy=seed, spawn_key=(index,))``: NumPy's documented way
        to independent streams.
    """
    import numpy as np

    global _outside
    if current.index < 0:
        if _outside is None:
            _outside = np.random.default_rng()
        return _outside
    key = (current.job_id, current.index)
    if current.key != key:
        sequence = np.random.SeedSequence(entropy=current.seed, spawn_key=(current.index,))
        current.generator = np.random.Generator(np.random.PCG64(sequence))
        current.key = key
        current.drew.append(current.index)
    return current.generator


def in_task() -> bool:
    """Return whether this process is a worker that has begun a task."""
    return bool(current.job_id)
