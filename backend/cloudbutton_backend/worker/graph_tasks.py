"""Runs a Dask graph's tasks, some of whose values have travelled once, for all tasks that use them."""

from __future__ import annotations

from typing import Any

from cloudbutton_backend.worker.calls import PushedCall


class SharedResult:
    """Stands among a task's values for one that does not travel with it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        return SharedResult, (self.name,)


class GraphTasks(PushedCall):
    """A submission of Dask's scheduler: a function, and a list of tasks for it.

    Each is a tuple that begins with its key and ``(task, values by key)``.
    """

    __slots__ = ()

    def __init__(self, function: Any, tasks: list[Any]) -> None:
        super().__init__(function, (tasks,), {})

    def __reduce__(self) -> Any:
        return GraphTasks, (self.function, self.args[0])

    def __repr__(self) -> str:
        return ", ".join(str(key) for key, *_ in self.args[0])


def run_tasks(call: GraphTasks | None, **values: Any) -> Any:
    """Run what Dask's scheduler submitted; None stands for what was cancelled before it was sent.

    Parameters
    ----------
    **values
        By the names of what stands for them.
    """
    if call is None:
        return None
    for _, (_, own), *_ in call.args[0]:
        for key, value in own.items():
            if type(value) is SharedResult:
                own[key] = values[value.name]
    return call.function(*call.args)
