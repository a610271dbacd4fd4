"""What goes wrong in a simulated run: the scripted faults where they strike, the random ones by dice."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tests.support.scripted_faults import (
    Crashes,
    DearCalls,
    DoubledResults,
    Fault,
    LateCharges,
    LateResults,
    LostCharges,
    LostResults,
    Stragglers,
    Throttled,
)

_EVERYWHERE = (
    Crashes,
    DearCalls,
    DoubledResults,
    LateCharges,
    LateResults,
    LostCharges,
    LostResults,
    Stragglers,
    Throttled,
)
F = TypeVar("F")


class FaultDice:
    """The faults of one run. The same seed and questions give the same answers.

    Attributes
    ----------
    dice : random.Random
        For whatever else is random.
    happened : Counter of str
        How often each kind of fault has, by its name.
    """

    def __init__(self, faults: Iterable[Fault], seed: int) -> None:
        self.dice = random.Random(seed)
        self._everywhere: dict[type[Any], Any] = {}
        self._at: defaultdict[str, dict[int, list[Any]]] = defaultdict(dict)
        self._struck: Counter[Any] = Counter()
        self.happened: Counter[str] = Counter()
        for fault in faults:
            if isinstance(fault, _EVERYWHERE):
                self._everywhere[type(fault)] = fault
            else:
                self._at[fault.job].setdefault(fault.item, []).append(fault)

    def of_job(self, job_id: str) -> Mapping[int, list[Any]]:
        """Return what is scripted for items of a job."""
        return self._at.get(job_id, {})

    def strikes(self, faults: Iterable[Any]) -> Iterator[Any]:
        """Yield those that happen to the run of their item that begins; count them."""
        for fault in faults:
            times = getattr(fault, "times", None)
            self._struck[fault] += 1
            if times is None or self._struck[fault] <= times:
                self.happened[type(fault).__name__] += 1
                yield fault

    def draw(self, kind: type[F]) -> F | None:
        """Return the fault of a kind if it happens now."""
        fault: Any = self._everywhere.get(kind)
        if fault is None or self.dice.random() >= fault.rate:
            return None
        self.happened[kind.__name__] += 1
        happens: F = fault
        return happens
