"""Functions as a notebook would have them: defined in `__main__`, out of reach of an import."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import tasks
from benchmarks.model import EngineSpec


def defined_in_main(name: str) -> Callable[..., Any]:
    """Return the function `name` of `benchmarks.tasks`, defined anew in `__main__`."""
    namespace = vars(sys.modules["__main__"])
    if name not in namespace:
        source = Path(tasks.__file__).read_text(encoding="utf-8")
        exec(compile(source, "<notebook cell>", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def task_for(engine: EngineSpec, name: str) -> Callable[..., Any]:
    """Return the task by value where `engine` can send it so, else its importable twin."""
    if engine.takes_closures:
        return defined_in_main(name)
    function: Callable[..., Any] = getattr(tasks, name)
    return function


def noop_for(engine: EngineSpec) -> Callable[[int], int]:
    """Return x + 1: as a closure where the engine can send one."""
    if engine.takes_closures:
        adder: Callable[[int], int] = defined_in_main("make_adder")(1)
        return adder
    return tasks.add_one
