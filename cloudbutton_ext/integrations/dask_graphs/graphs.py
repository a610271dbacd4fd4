"""Prepare Dask's graphs for a scheduler, and refuse those that would give wrong results elsewhere.

Decisions only: nothing runs here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Final, TypeAlias

from dask import config
from dask._task_spec import (
    Alias,
    DataNode,
    GraphNode,
    NestedContainer,
    Task,
    TaskRef,
    convert_legacy_graph,
    cull,
    fuse_linear_task_spec,
    resolve_aliases,
)
from dask.core import reverse_dict
from dask.sizeof import sizeof

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import UsageError

Key: TypeAlias = Any
Graph: TypeAlias = dict[Key, Any]

LEAST_SHARED: Final = 64 * 1024
"""Bytes from which a value that several tasks use is sent apart."""
_PLAIN: Final = frozenset({int, float, complex, bool, type(None), str, slice, type})
_GATHERING: Final = frozenset(
    {
        ("dask.array.core", "finalize"),
        ("dask.bag.core", "finalize"),
        ("dask.bag.core", "finalize_item"),
        ("dask.dataframe.core", "_concat"),
    }
)
"""Functions of Dask's own that put a collection's parts together at the end."""


def prepare_graph(dsk: Any, wanted: Set[Key]) -> Graph:
    """Return what is needed of a graph for the keys that are wanted, as Dask's own tasks.

    Chains of tasks become one task, so that what they hand on does not travel.
    """
    if not wanted:
        return {}
    graph = dsk if isinstance(dsk, Mapping) else dsk.__dask_graph__()
    graph = cull(convert_legacy_graph(dict(graph)), set(wanted))
    if config.get("optimization.fuse.active") is not False:
        graph = fuse_linear_task_spec(graph, set(wanted))
    dependents = reverse_dict({key: node.dependencies for key, node in graph.items()})
    resolved: Graph = resolve_aliases(graph, set(wanted), dependents)
    return _with_shared_literals(resolved)


def shared_values(graph: Graph, wanted: Set[Key]) -> dict[Key, Any]:
    """Return the large values in a graph that more than one task uses, by key."""
    uses = Counter(key for node in graph.values() for key in node.dependencies)
    return {
        key: node.value
        for key, node in graph.items()
        if uses[key] > 1 and key not in wanted and type(node) is DataNode and _is_large(node.value)
    }


def is_gathering(node: GraphNode) -> bool:
    """Whether a task only puts together what others have made: sending that out again gains nothing."""
    if isinstance(node, (Alias, DataNode)):
        return True
    if isinstance(node, NestedContainer):
        return _holds_no_work(node.args)
    if not isinstance(node, Task):
        return False
    place = getattr(node.func, "__module__", None), getattr(node.func, "__name__", None)
    return place in _GATHERING and _holds_no_work([*node.args, *node.kwargs.values()])


def sample(graph: Graph) -> list[Any]:
    """Return a task of each kind that a graph has: they tell which packages it needs."""
    kinds: dict[Any, GraphNode] = {}
    for node in graph.values():
        func = getattr(node, "func", None)
        kinds.setdefault((type(node), getattr(func, "__module__", None), str(func)), node)
        if len(kinds) == _MAX_SAMPLES:
            break
    return list(kinds.values())


_MAX_SAMPLES: Final = 50


def _holds_no_work(arguments: Iterable[Any]) -> bool:
    return all(
        not isinstance(argument, GraphNode)
        or isinstance(argument, (Alias, DataNode))
        or (isinstance(argument, NestedContainer) and _holds_no_work(argument.args))
        for argument in arguments
    )


def _is_large(value: Any) -> bool:
    return type(value) not in _PLAIN and int(sizeof(value)) >= LEAST_SHARED


def _with_shared_literals(graph: Graph) -> Graph:
    """Return the graph with large values that are arguments of several tasks as values of their own."""
    uses: Counter[int] = Counter()
    for node in graph.values():
        if type(node) is Task:
            uses.update({id(argument) for argument in _literals(node)})
    again = {
        id(argument): argument
        for node in graph.values()
        if type(node) is Task
        for argument in _literals(node)
        if uses[id(argument)] > 1
    }
    large = {number: value for number, value in again.items() if _is_large(value)}
    if not large:
        return graph
    keys = {number: f"{type(value).__name__}-shared-{number}" for number, value in large.items()}
    out = {key: _with_references(node, keys) for key, node in graph.items()}
    out.update({keys[number]: DataNode(keys[number], value) for number, value in large.items()})
    return out


def _literals(task: Task) -> Iterator[Any]:
    for argument in (*task.args, *task.kwargs.values()):
        if type(argument) not in _PLAIN and not isinstance(argument, (GraphNode, TaskRef)):
            yield argument


def _with_references(node: Any, keys: Mapping[int, str]) -> Any:
    if type(node) is not Task or not any(id(literal) in keys for literal in _literals(node)):
        return node

    def reference(argument: Any) -> Any:
        key = keys.get(id(argument))
        return argument if key is None else TaskRef(key)

    return Task(
        node.key,
        node.func,
        *map(reference, node.args),
        **{name: reference(argument) for name, argument in node.kwargs.items()},
    )


_STORING: Final = frozenset({"load_store_chunk", "store_chunk"})


def check_graph(graph: Mapping[Any, Any], backend: Backend) -> None:
    """Check that a graph means the same on a backend as in this process.

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
