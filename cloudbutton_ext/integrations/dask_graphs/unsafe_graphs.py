"""Graphs that would give wrong results where workers are not in this process, refused before they start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import UsageError

_STORING: Final = frozenset({"load_store_chunk", "store_chunk"})


def check(graph: Mapping[Any, Any], backend: Backend) -> None:
    """See that a graph means the same on a backend as in this process.

    Raises
    ------
    UsageError
        If it writes to an array of this process, or to files that its workers would not share.
    """
    for task, known in _tasks(graph.values(), graph):
        place = getattr(task.func, "__module__", None) or type(task.func).__module__
        if place == "dask.array.core" and getattr(task.func, "__name__", "") in _STORING:
            _check_target(_value(task.args[1], known))
        elif (
            place.partition(".")[0] == "partd" or type(task.func).__name__ == "maybe_buffered_partd"
        ) and not backend.limits.shares_files:
            raise UsageError(
                f"This graph shuffles through files, and the workers of {backend.name} have no disk in"
                ' common. Have it shuffle by tasks: `dask.config.set({"dataframe.shuffle.method": "tasks"})`'
                ' for a data frame, `groupby(…, shuffle="tasks")` for a bag.'
            )


def _check_target(target: Any) -> None:
    if type(target).__module__ == "numpy":
        raise UsageError(
            f"`store` would have tasks write to an array of this process (a {type(target).__name__} of shape"
            f" {getattr(target, 'shape', ())}), which workers elsewhere cannot. Take what `compute` returns,"
            " or store into something that opens its own file, such as a Zarr array."
        )


def _tasks(
    nodes: Iterable[Any], known: Mapping[Any, Any]
) -> Iterator[tuple[Task, Mapping[Any, Any]]]:
    """Yield all tasks, those inside of fused ones included, each with the nodes that it may refer to."""
    for node in nodes:
        if not isinstance(node, Task):
            continue
        yield node, known
        arguments: tuple[Any, ...] = (*node.args, *node.kwargs.values())
        if (
            node.args and type(node.args[0]) is dict and len(node.args) >= 3
        ):  # a fused task's own graph
            own, _, names, *given = node.args
            bound = {name: _node(argument, known) for name, argument in zip(names, given)}
            yield from _tasks(own.values(), {**own, **bound})
            arguments = tuple(given)
        yield from _tasks(arguments, known)


def _node(argument: Any, known: Mapping[Any, Any]) -> Any:
    """Return what a reference refers to; everything else stands for itself."""
    while isinstance(argument, (TaskRef, Alias)):
        key = argument.key if isinstance(argument, TaskRef) else argument.target
        if key not in known or known[key] is argument:
            return None
        argument = known[key]
    return argument


def _value(argument: Any, known: Mapping[Any, Any]) -> Any:
    node = _node(argument, known)
    if isinstance(node, DataNode):
        return node.value
    return None if isinstance(node, GraphNode) else node
