"""The graph that is run means what the graph meant that Dask handed over."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.local import get_sync
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_ext.integrations.dask_graphs import graphs

LARGE = np.arange(float(graphs.LEAST_SHARED))


def weighed(array: Any, number: int) -> int:
    return int(array[number % 7]) + number


@st.composite
def any_graph(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """Return a graph of numbers, each computed from earlier ones, and keys that are wanted."""
    graph: dict[str, Any] = {"array": DataNode("array", LARGE), "n0": DataNode("n0", 1)}
    for number in range(1, draw(st.integers(1, 12))):
        key = f"n{number}"
        one, other = (f"n{draw(st.integers(0, number - 1))}" for _ in range(2))
        way = draw(st.sampled_from(["add", "next", "alias", "array", "literal", "list", "legacy"]))
        graph[key] = {
            "add": Task(key, operator.add, TaskRef(one), TaskRef(other)),
            "next": Task(key, operator.add, TaskRef(one), 1),
            "alias": Alias(key, target=one),
            "array": Task(key, weighed, TaskRef("array"), TaskRef(one)),
            "literal": Task(key, weighed, LARGE, number=TaskRef(one)),
            "list": Task(key, sum, List(TaskRef(one), TaskRef(other), 3)),
            "legacy": (operator.add, one, (operator.neg, other)),
        }[way]
    keys = [f"n{number}" for number in range(len(graph) - 1)]
    return graph, draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))


@settings(deadline=None)
@given(any_graph())
def test_preparing_changes_no_value(given_: tuple[dict[str, Any], list[str]]) -> None:
    graph, keys = given_
    prepare_graph = graphs.prepare_graph(graph, set(keys))
    assert get_sync(prepare_graph, keys) == get_sync(graph, keys)


@settings(deadline=None)
@given(any_graph())
def test_what_is_shared_is_large_and_used_by_several_tasks(
    given_: tuple[dict[str, Any], list[str]],
) -> None:
    graph, keys = given_
    prepare_graph = graphs.prepare_graph(graph, set(keys))
    shared = graphs.shared_values(prepare_graph, set(keys))
    assert all(value is LARGE for value in shared.values())
    users = [node for node in prepare_graph.values() if node.dependencies & shared.keys()]
    assert len(users) != 1


def test_what_is_not_wanted_is_not_run() -> None:
    graph = {key: Task(key, operator.add, 1, 2) for key in "abc"}
    assert set(graphs.prepare_graph(graph, {"b"})) == {"b"}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Alias("a", target="b"), True),
        (List(TaskRef("a"), List(TaskRef("b"), 1)), True),
        (List(TaskRef("a"), Task(None, abs, 1)), False),
        (Task("a", abs, TaskRef("b")), False),
    ],
    ids=str,
)
def test_only_what_does_no_work_is_done_here(node: Any, expected: bool) -> None:
    assert graphs.is_gathering(node) is expected
