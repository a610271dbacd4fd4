"""A cell's body as a function."""

from __future__ import annotations

import traceback
from typing import Any

import cloudpickle
import pytest

from cloudbutton_backend.errors import UsageError
from cloudbutton_magic.analysis.data_flow import read_before_bound
from cloudbutton_magic.cells.body_function import (
    function_of_body,
    function_of_cell,
    only_function_name,
    parse_body,
)


@pytest.mark.parametrize(
    ("cell", "targets", "item", "expected"),
    [
        ("x + 1", ("x",), 2, 3),
        ("y = a * b\ny", ("a", "b"), (3, 4), 12),
        ("x = x * 2\nx", ("x",), 2, 4),
        ("if x > 1:\n    return 'big'\n'small'", ("x",), 2, "big"),
        ("data = data[x:]\nlen(data)", ("x",), 1, 2),
        ("def double(v):\n    return v * k\ndouble(x)", ("x",), 4, 40),
        ("[x * k for k in (1, 2)]", ("x",), 3, [3, 6]),
        ("import math\nmath.floor(x)", ("x",), 2.5, 2),
        ("total = 0\nfor i in range(x):\n    total += i\ntotal", ("x",), 4, 6),
    ],
)
def test_the_last_expression_is_the_value(
    cell: str, targets: tuple[str, ...], item: Any, expected: Any
) -> None:
    namespace = {"k": 10, "data": [1, 2, 3], "total": 99}
    made = function_of_body(cell, targets, namespace)
    assert made.has_value
    assert made.call(item) == expected
    assert made.call(item) == expected, "an item starts afresh"
    assert namespace["data"] == [1, 2, 3]


def test_names_of_the_notebook_are_read_when_the_function_runs() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "k": 1}
    made = function_of_body("x * k", ("x",), namespace)
    namespace["k"] = 5
    assert made.call(2) == 10


def test_the_function_travels_by_value() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "k": 3, "data": [1, 2]}
    made = function_of_body("data = data + [x]\nsum(data) * k", ("x",), namespace)
    again = cloudpickle.loads(cloudpickle.dumps(made.call))
    assert again(4) == 21


def test_a_body_without_a_value_says_so() -> None:
    made = function_of_body("y = x", ("x",), {})
    assert not made.has_value
    assert made.call(1) is None


@pytest.mark.parametrize(
    ("cell", "line", "words"),
    [
        ("%time f(x)", 2, "Magics"),
        ("a = 1\n!ls", 3, "Magics"),
        ("files = !ls", 2, "Magics"),
        ("x?", 2, "Magics"),
        ("await f(x)", 2, "`await`"),
        ("a = 1\nasync for y in x:\n    pass", 3, "`await`"),
        ("[y async for y in x]", 2, "`await`"),
        ("global g\ng = x", 2, "`g`"),
        ("a = 1\nyield x", 3, "yield"),
        ("from math import *", 2, "`math`"),
        ("total += x", 2, "`total`"),
        ("if x:\n    total += x\ntotal", 3, "`total`"),
    ],
)
def test_what_a_task_cannot_do_is_refused_with_its_line(cell: str, line: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        function_of_body(cell, ("x",), {"total": 0})
    message, shown = str(caught.value).splitlines()
    assert words in message
    assert shown == f"    line {line}: {cell.splitlines()[line - 2].strip()}"


def test_an_await_inside_a_function_of_the_cell_is_fine() -> None:
    made = function_of_body("async def f():\n    await g()\n1", ("x",), {})
    assert made.call(0) == 1


def test_a_syntax_error_is_pythons_own_on_the_users_line() -> None:
    with pytest.raises(SyntaxError) as caught:
        function_of_body("a = 1\nb = = 2", ("x",), {}, filename="<the cell>")
    assert (caught.value.filename, caught.value.lineno) == ("<the cell>", 3)


def test_a_traceback_names_the_cells_lines_below_the_header() -> None:
    made = function_of_body("y = 1\ny / x", ("x",), {}, filename="<the cell>")
    with pytest.raises(ZeroDivisionError) as caught:
        made.call(0)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == ("<the cell>", 3, "cell")


@pytest.mark.parametrize("cell", ["", "\n", "# nothing\n"])
def test_an_empty_body_is_refused(cell: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        function_of_body(cell, ("x",), {})


@pytest.mark.parametrize(
    ("cell", "results", "value", "names"),
    [
        ("a = 1\nb = a + k\nb", (), 11, {"a": 1, "b": 11}),
        ("a = 1\nb = 2", ("b",), None, {"b": 2}),
        ("if k > 99:\n    a = 1\nb = 2", (), None, {"b": 2}),
        ("k += 1\nk", (), 11, {"k": 11}),
        ("for i in range(3):\n    pass", (), None, {"i": 2}),
        ("a, (b, *c) = 1, (2, 3)\n", ("a", "c"), None, {"a": 1, "c": [3]}),
    ],
)
def test_a_whole_cell_returns_its_value_and_its_variables(
    cell: str, results: tuple[str, ...], value: Any, names: dict[str, Any]
) -> None:
    call, _ = function_of_cell(cell, results, {"k": 10})
    assert call(None) == (value, names)


def test_a_name_that_the_cell_does_not_assign_is_refused_beforehand() -> None:
    with pytest.raises(UsageError, match=r"does not assign `c`\. It assigns `a`, `b`"):
        function_of_cell("a = b = 1", ("c",), {})


def test_return_is_refused_in_a_whole_cell() -> None:
    with pytest.raises(UsageError, match="line 2: return 1"):
        function_of_cell("return 1", (), {})


def test_the_one_function_of_a_cell_is_found() -> None:
    assert only_function_name(parse_body("import math\ndef f(x):\n    return x")) == "f"


@pytest.mark.parametrize(
    ("cell", "words"), [("x = 1", "has none"), ("def f(): ...\ndef g(): ...", "`f`, `g`")]
)
def test_no_function_or_several_are_refused(cell: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        only_function_name(parse_body(cell))


@pytest.mark.parametrize(
    ("code", "early"),
    [
        ("a = 1; a", set()),
        ("a = a + 1", {"a"}),
        ("a += 1", {"a"}),
        ("b = [a for a in a]; a = 1", {"a"}),
        ("b = [a for a in c]; a = 1", set()),
        ("if c:\n    a = 1\na", {"a"}),
        ("if c:\n    a = 1\nelse:\n    a = 2\na", set()),
        ("for i in c:\n    a = i\n    a", set()),
        ("for i in c:\n    a = i\na", {"a"}),
        ("while a:\n    a = 0", {"a"}),
        ("try:\n    a = 1\nexcept E:\n    a = 2\na", set()),
        ("try:\n    a = 1\nexcept E:\n    pass\na", {"a"}),
        ("with o() as a:\n    a", set()),
        ("with a as a:\n    pass", {"a"}),
        ("(a := 1) and a", set()),
        ("def f():\n    return a\na = 1", set()),
        ("def f(x=a):\n    pass\na = 1", {"a"}),
        ("class C:\n    x = a\na = 1", {"a"}),
        ("import a.b\na", set()),
        ("match c:\n    case [a, *r]:\n        a", set()),
        ("del a", set()),
        ("a: int\na", {"a"}),
        ("class C:\n    def m(self):\n        return a\na = 1", set()),
        ("f = lambda: a\na = 1", set()),
        ("a.b = 1", set()),
        ("a[0] = a[1]", set()),
    ],
)
def test_reads_before_assignment(code: str, early: set[str]) -> None:
    import ast

    assert read_before_bound(ast.parse(code).body) == early


def test_variables_come_back_in_the_order_in_which_the_cell_assigns_them() -> None:
    code = "b = 1\nimport numpy as np\nfor i in [[1]]:\n    a = [z for z in i]\ndef f(q): w = 1"
    _, names = function_of_cell(code, (), {})
    assert names == ("b", "np", "i", "a", "f")
