"""What a header enumerates."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from cloudbutton_magic.cells import item_expression as items_module
from cloudbutton_magic.cells.header import MapHeader, parse_header
from cloudbutton_magic.cells.item_expression import enumerate_items


def items_of(line: str, **namespace: Any) -> Any:
    header = parse_header(f"map {line}")
    assert isinstance(header, MapHeader)
    return enumerate_items(header, namespace)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x in [3, 4]", [3, 4]),
        ("x in 'ab'", ["a", "b"]),
        ("x in {1: 2}", [1]),
        ("k, v in {1: 2}.items()", [(1, 2)]),
        ("a, (b, *c) in [(1, (2, 3, 4))]", [(1, 2, [3, 4])]),
        ("x in range(4) if x % 2", [1, 3]),
        ("x in range(3) for y in range(x)", [(1, 0), (2, 0), (2, 1)]),
        ("x in [[1], [2, 3]] for x in x", [1, 2, 3]),
        ("x in []", []),
        ("[5, 6]", [5, 6]),
    ],
)
def test_items_are_those_of_the_comprehension(line: str, expected: list[Any]) -> None:
    found = items_of(line)
    assert found == expected
    assert isinstance(found, list)


def test_a_range_stays_one_so_that_a_million_items_cost_nothing() -> None:
    assert items_of("x in range(10**9)") == range(10**9)


def test_a_list_is_taken_as_it_is_now() -> None:
    xs = [1, 2]
    found = items_of("x in xs", xs=xs)
    xs.append(3)
    assert found == [1, 2]


def test_a_generator_is_not_read_ahead() -> None:
    read = []

    def produce() -> Iterator[int]:
        for i in itertools.count():
            read.append(i)
            yield i

    found = items_of("x in produce()", produce=produce)
    assert read == []
    assert list(itertools.islice(found, 2)) == [0, 1]
    assert read == [0, 1]


def test_several_clauses_are_counted_only_while_that_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(items_module, "COUNT_AT_MOST", 3)
    found = items_of("x in [10, 20] for y in count(x)", count=itertools.count)
    assert not isinstance(found, list)
    assert list(itertools.islice(found, 4)) == [(10, 10), (10, 11), (10, 12), (10, 13)]


def test_targets_do_not_appear_in_the_notebook() -> None:
    namespace: dict[str, Any] = {}
    header = parse_header("map x, y in [(1, 2)]")
    assert isinstance(header, MapHeader)
    list(enumerate_items(header, namespace))
    assert set(namespace) <= {"__builtins__"}


@pytest.mark.parametrize(
    "line", ["x in missing", "x in [1] for y in missing", "x in [1] if missing"]
)
def test_an_error_in_the_header_is_the_users_own_on_line_one(line: str) -> None:
    with pytest.raises(NameError, match="missing") as caught:
        list(items_of(line))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("<header>", 1)
