"""Items are pickled as a list by the rules of capture, their buffers beside the stream."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cloudbutton_backend.capture import capture, dump_items


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


def test_classes_that_the_function_brought_are_not_sent_again(
    notebook: Any, elsewhere: Any
) -> None:
    notebook(
        "seen = []\n"
        "table = list(range(1000))\n"
        "class A:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def note(self): seen.append(table[self.x])\n"
        "def f(a, b):\n"
        "    a.note()\n"
        "    b.note()\n"
        "    return seen, type(a) is A\n"
        "items = [A(1), A(2)]"
    )
    captured = capture(notebook["f"])
    parts = dump_items(notebook["items"], known_classes=captured.classes)
    assert len(parts[0]) < 200 < len(dump_items(notebook["items"])[0])
    assert elsewhere.run(captured, *parts) == ([1, 2], True)


def test_a_class_redefined_since_then_is_sent(notebook: Any, elsewhere: Any) -> None:
    notebook("class A:\n    def g(self): return 'old'\ndef f(a): return a.g(), A().g()")
    captured = capture(notebook["f"])
    notebook("class A:\n    def g(self): return 'new'\nitems = [A()]")
    parts = dump_items(notebook["items"], known_classes=captured.classes)
    assert elsewhere.run(captured, *parts) == ("new", "old")
