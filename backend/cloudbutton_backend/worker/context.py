"""What a task may know of itself: its job's seed and its item's index, hence its random numbers."""

from __future__ import annotations

from typing import Any


class _Context:
    """The item being run in this process; one at a time."""

    __slots__ = ("generator", "index", "job_id", "key", "seed")

    def __init__(self) -> None:
        self.job_id = ""
        self.seed = 0
        self.index = -1
        self.key: tuple[str, int] | None = None
        self.generator: Any = None


current = _Context()


def rng() -> Any:
    """Return the random generator of the item being run.

    It depends on the job's seed and the item's index alone, so results do not depend on the
    backend, the number of workers or the batch. Calls within one item return the same generator, which
    goes on where it was.

    Returns
    -------
    numpy.random.Generator
        PCG64 seeded by ``SeedSequence(entropy=seed, spawn_key=(index,))``: NumPy's documented way
        to independent streams.

    Raises
    ------
    RuntimeError
        Outside a task, where there is no item.
    """
    if current.index < 0:
        raise RuntimeError(
            "`cloud.rng()` belongs inside a task: it gives each item its own stream. "
            "Here use `numpy.random.default_rng(seed)`."
        )
    key = (current.job_id, current.index)
    if current.key != key:
        import numpy as np

        sequence = np.random.SeedSequence(entropy=current.seed, spawn_key=(current.index,))
        current.generator = np.random.Generator(np.random.PCG64(sequence))
        current.key = key
    return current.generator
