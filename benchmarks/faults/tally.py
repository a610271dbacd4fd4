"""What a scenario counts: how often the fault struck, and what became of the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce


@dataclass(frozen=True, kw_only=True)
class Tally:
    """One run of a scenario, or several together."""

    runs: int = 1
    struck: int = 0
    """How often the fault happened."""
    items: int = 0
    lost: int = 0
    """Items without a result at the end, and finished ones that had to be run again."""
    doubled: int = 0
    """Results delivered more than once."""
    wrong: int = 0
    """Results that are not those of the plain loop."""
    recomputed: int = 0
    """Executions beyond the first of each item."""
    surprises: tuple[str, ...] = ()
    """Errors, and states of the journal, that should not have been."""
    most: Mapping[str, float] = field(default_factory=dict)
    """Figures by name, of which the largest of all runs is kept."""
    notes: Counter[str] = field(default_factory=Counter)
    """What else is worth knowing, and in how many runs it was so."""

    @property
    def is_clean(self) -> bool:
        """Whether all promises were kept."""
        return not (self.lost or self.doubled or self.wrong or self.surprises)

    def __add__(self, other: Tally) -> Tally:
        most = dict(self.most)
        for name, value in other.most.items():
            most[name] = max(value, most.get(name, value))
        return Tally(
            runs=self.runs + other.runs,
            struck=self.struck + other.struck,
            items=self.items + other.items,
            lost=self.lost + other.lost,
            doubled=self.doubled + other.doubled,
            wrong=self.wrong + other.wrong,
            recomputed=self.recomputed + other.recomputed,
            surprises=self.surprises + other.surprises,
            most=most,
            notes=self.notes + other.notes,
        )


def together(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    return reduce(Tally.__add__, tallies, Tally(runs=0))
