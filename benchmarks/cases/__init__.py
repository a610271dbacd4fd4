"""One module per question; `ALL` is their order in the report."""

from __future__ import annotations

from typing import Final

from benchmarks.cases import (
    big_closure,
    button,
    clusters,
    cold,
    grid_search,
    heavy_tail,
    imports,
    killed_worker,
    magic,
    millisecond,
    noops,
    overhead,
    payload,
    stream,
    warm,
)
from benchmarks.model import Case

ALL: Final[tuple[Case, ...]] = (
    cold.CASE,
    imports.CASE,
    imports.EXTENSION,
    warm.CASE,
    magic.CASE,
    button.CASE,
    noops.CASE,
    millisecond.CASE,
    heavy_tail.CASE,
    payload.CASE,
    big_closure.CASE,
    stream.CASE,
    clusters.CASE,
    grid_search.CASE,
    killed_worker.CASE,
    killed_worker.ONCE,
    overhead.CASE,
)
