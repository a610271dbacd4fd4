"""One item of 100 kills its worker: what is kept, when is it known, does the pool go on?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks import pools
from benchmarks.engines.base import BaseEngine, Survival
from benchmarks.model import Case, Cell, Metric, Reading, Target
from benchmarks.notebook import noop_for, task_for

ITEMS = 100


def _run_deadly_job(cell: Cell, *, only_once: bool) -> tuple[BaseEngine, Survival, float]:
    """Return the engine, what survived, and the seconds from the first death to its news."""
    engine = pools.start(cell)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        marker = Path(folder) / "first-death"
        deadly = partial(task_for(cell.engine, "deadly"), str(marker), only_once)
        survival = engine.survive(deadly, range(ITEMS))
        died_at = float(marker.read_text())
    return engine, survival, survival.known_at - died_at


def run_always(cell: Cell) -> Mapping[str, Reading]:
    engine, survival, delay = _run_deadly_job(cell, only_once=False)
    if survival.error is None:
        raise AssertionError(f"{cell} did not say that item 37 is lost")
    try:
        usable = engine.map(noop_for(cell.engine), [1, 2]) == [2, 3]
    except Exception:
        usable = False
    return {
        "kept": float(len(set(survival.kept) - {37})),
        "known": delay,
        "cause": type(survival.error).__name__,
        "usable": "yes" if usable else "no",
    }


def run_once(cell: Cell) -> Mapping[str, Reading]:
    began = time.perf_counter()
    _, survival, _ = _run_deadly_job(cell, only_once=True)
    right = sorted(survival.kept) == list(range(ITEMS))
    return {
        "right": float(len(set(survival.kept))),
        "unseen": "yes" if right and survival.error is None else "no",
        "seconds": time.perf_counter() - began,
    }


CASE = Case(
    name="killed-worker",
    title="One item of 100 kills its worker, every time",
    metrics=(
        Metric(
            key="kept", label="other results kept", digits=0, higher_is_better=True,
            target=Target(limit=99, least=True),
        ),
        Metric(key="known", label="known after", unit="s", digits=3, target=Target(limit=0.2)),
        Metric(key="cause", label="reported as"),
        Metric(key="usable", label="pool usable at once"),
    ),
    run=run_always,
    timeout=5,
)  # fmt: skip

ONCE = Case(
    name="killed-once",
    title="One item of 100 kills its worker, the first time only",
    metrics=(
        Metric(
            key="right", label="results", digits=0, higher_is_better=True,
            target=Target(limit=100, least=True),
        ),
        Metric(key="unseen", label="retried unseen"),
        Metric(key="seconds", label="job, with the pool's start", unit="s", digits=2),
    ),
    run=run_once,
    timeout=5,
)  # fmt: skip
