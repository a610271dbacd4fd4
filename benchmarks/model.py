"""The values a benchmark is made of: engines, cases, metrics, targets and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

#: A figure, or a short text where there is none ("hangs", "cannot pickle it").
Reading = float | str


@dataclass(frozen=True)
class EngineSpec:
    """What the harness must know of an engine without importing it."""

    name: str
    module: str
    """The adapter's module; it defines a class named Engine."""
    library: str
    """The package whose import time is the engine's own."""
    takes_closures: bool
    """Whether a function defined in the notebook travels; if not it gets the importable twin."""
    role: Literal["ours", "sibling", "floor", "peer"] = "peer"
    """A sibling is ours on another backend: no target is set for it, and it is nobody's peer."""
    by_invitation: bool = False
    """Takes part only in the cases that name it: it needs seconds to start, and long for tiny items."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bound on our own figure: absolute, or times the floor's of the same run."""

    limit: float
    least: bool = False
    """The limit is a minimum instead of a maximum."""
    of_floor: bool = False
    """The limit is a multiple of what the hand-made floor reached in the same run."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure that a case reports."""

    key: str
    label: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool = False
    target: Target | None = None


@dataclass(frozen=True)
class Cell:
    """One engine in one variant of a case: what a single subprocess measures."""

    engine: EngineSpec
    chunk: int | None = None
    """A chunk size chosen by hand, in the tuned variant."""

    def __str__(self) -> str:
        return self.engine.name if self.chunk is None else f"{self.engine.name}, tuned"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question put to every engine."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    run: Callable[[Cell], Mapping[str, Reading]]
    """Called once in a fresh process; returns a reading for each metric's key."""
    only: Literal["ours"] | None = None
    among: frozenset[str] | None = None
    """Names of the engines to which the question can be put; None for all."""
    tuned: Mapping[str, int] = field(default_factory=dict)
    """Engines that run once more with a chunk size chosen by hand, where it helps them."""
    least_runs: int = 1
    """Made even when the time for an engine is used up."""
    timeout: float = 60.0
    samples_memory: bool = False
    """The parent watches the process tree and adds the reading `peak_mb`."""

    def cells(self, engines: tuple[EngineSpec, ...]) -> tuple[Cell, ...]:
        """Return what this case measures among `engines`, in the order of the report."""
        chosen = [
            engine
            for engine in engines
            if self.only in (None, engine.role)
            and (engine.name in self.among if self.among else not engine.by_invitation)
        ]
        cells: list[Cell] = []
        for engine in chosen:
            cells.append(Cell(engine))
            if engine.name in self.tuned:
                cells.append(Cell(engine, self.tuned[engine.name]))
        return tuple(cells)
