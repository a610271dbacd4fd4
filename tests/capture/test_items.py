"""Items are pickled as a list by the rules of capture, their buffers beside the stream."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cloudbutton_backend.capture import dump_items


def load(parts: Sequence[Any]) -> Any:
    stream, *buffers = parts
    return pickle.loads(stream, buffers=buffers)


@pytest.mark.parametrize("items", [[], [1, 2], range(5), (1, "a", None), [{"a": [1.5]}]])
def test_items_arrive_as_a_list(items: Sequence[Any]) -> None:
    assert load(dump_items(items)) == list(items)


def test_numbers_take_what_plain_pickle_takes() -> None:
    items = list(range(10_000))
    (stream,) = dump_items(items)
    assert bytes(stream) == pickle.dumps(items, 5)


def test_arrays_are_not_copied() -> None:
    items = [np.arange(1000.0) + i for i in range(3)]
    _, *buffers = dump_items(items)
    assert [np.shares_memory(np.frombuffer(b), a) for b, a in zip(buffers, items)] == [True] * 3


def test_functions_and_classes_of_the_notebook_are_items_too(notebook: Any) -> None:
    notebook("class A:\n    x = 1\nitems = [A(), A, lambda: 7]")
    instance, cls, function = load(dump_items(notebook["items"]))
    assert type(instance) is cls
    assert function() == 7
