"""Which functions of a cell are looked into, and which of their loops may be sent."""

from __future__ import annotations

import ast

import pytest

from cloudbutton_magic.analysis import Namespace, called_once, find_loops
from cloudbutton_magic.rewriting.cell_rewrite import instrument

LOOP = " for x in xs: out.append(x)\n return out\n"


@pytest.mark.parametrize(
    "cell",
    [
        f"def f(xs, out):\n{LOOP}f(a, b)",
        f"def f(xs, out):\n{LOOP}if a:\n f(a, b)",
        f"def f(xs, out):\n{LOOP}with a:\n try:\n  y = g(*f(a, b))\n finally: pass",
        f"def f(xs, out):\n{LOOP}for y in f(a, b): pass",
        f"def f(xs, *, out=[]):\n{LOOP}print(f(a))",
        f"def f(xs, out):\n def g(): return 1\n{LOOP}f(a, b)",
    ],
)
def test_a_function_called_once_is_looked_into(cell: str) -> None:
    (called,) = called_once(ast.parse(cell))
    assert [loop.names for loop in called.loops()] == [frozenset({"x", "xs", "out"})]


@pytest.mark.parametrize(
    "cell",
    [
        f"def f(xs, out):\n{LOOP}",
        f"def f(xs, out):\n{LOOP}f(a, b)\nf(a, b)",
        f"def f(xs, out):\n{LOOP}g(f)",
        f"def f(xs, out):\n{LOOP}g = f\nf(a, b)",
        f"def f(xs, out):\n{LOOP}f.calls = 0\nf(a, b)",
        f"def f(xs, out):\n f(xs, out)\n{LOOP}f(a, b)",
        f"def f(xs, out):\n{LOOP}for y in a: f(y, b)",
        f"def f(xs, out):\n{LOOP}[f(y, b) for y in a]",
        f"def f(xs, out):\n{LOOP}[y for y in f(a, b)]",
        f"def f(xs, out):\n{LOOP}while f(a, b): pass",
        f"def f(xs, out):\n{LOOP}h = lambda: f(a, b)",
        f"def f(xs, out):\n{LOOP}def h(): return f(a, b)",
        f"def f(xs, out):\n{LOOP}class C: y = f(a, b)",
        f"def f(xs, out):\n{LOOP}def f(xs, out):\n{LOOP}f(a, b)",
        f"f(a, b)\ndef f(xs, out):\n{LOOP}",
        f"@g\ndef f(xs, out):\n{LOOP}f(a, b)",
        f"async def f(xs, out):\n{LOOP}f(a, b)",
        "if a:\n def f(xs):\n  return [x for x in xs]\nf(a)",
        "class C:\n def f(xs):\n  return [x for x in xs]\nC.f(a)",
        f"def f(xs, out):\n yield 1\n{LOOP}f(a, b)",
        f"def f(xs, out):\n global n\n{LOOP}f(a, b)",
        f"def f(xs, out):\n def g():\n  nonlocal xs\n{LOOP}f(a, b)",
        f"def f(xs, out):\n g(locals())\n{LOOP}f(a, b)",
        f"def f(xs, out):\n exec(xs)\n{LOOP}f(a, b)",
        f"def f(xs, out):\n xs = xs.query('a > @b')\n{LOOP}f(a, b)",
    ],
)
def test_any_other_function_is_left_alone(cell: str) -> None:
    assert called_once(ast.parse(cell)) == []


@pytest.mark.parametrize(
    ("body", "sent", "refused"),
    [
        ("for x in xs: out.append(x)", [2], []),
        ("if xs:\n  for x in xs: out.append(x)", [3], []),
        ("return [x for x in xs], sum(x for x in xs)", [2, 2], []),
        ("for x in xs:\n  for y in x: out.append(y)\n  n = g(n)", [3], [4]),
        ("for x in xs:\n  if x: return x", [], [3]),
        ("h = lambda: n\n for x in xs: n = g(x)", [], [3]),
        ("h = (n for _ in xs)\n for x in xs: n = g(x)", [], [3]),
        ("class C:\n  def h(self): return x\n for x in xs: out.append(x)", [], [4]),
        ("for x in xs: n = g(x)\n return max(n * y for y in out)", [2, 3], []),
        ("while xs:\n  for x in xs: n = g(x)\n  h = lambda: n", [], [3]),
        ("n = 1\n m = sum(n for y in xs)\n for x in xs: n = g(x)", [3, 4], []),
        ("n = 1\n xs.sort(key=lambda y: n)\n for x in xs: n = g(x)", [], [4]),
        ("n = 1\n ys = sorted(xs, key=lambda y: n)\n for x in xs: n = g(x)", [4], []),
        ("n = 1\n m = max((n for y in xs), xs)\n for x in xs: n = g(x)", [3], [4]),
        ("n, sum = 1, g\n m = sum(n for y in xs)\n for x in xs: n = g(x)", [3], [4]),
        ("h = dict(k=lambda: n)\n for x in xs: n = g(x)", [], [3]),
        ("h = lambda x: x\n for x in xs: out.append(x)", [3], []),
        ("return [y := x for x in xs]", [], [2]),
        ("def h():\n  for x in xs: out.append(x)", [], []),
    ],
)
def test_loops_of_a_function_are_judged_as_those_of_the_cell(
    body: str, sent: list[int], refused: list[int]
) -> None:
    cell = instrument(ast.parse(f"def f(xs, out):\n {body}\nf(a, b)"))
    assert [loop.line for loop in cell.loops] == sent
    assert [refusal.line for refusal in cell.refused] == refused


def test_the_definition_stays_as_it_stands() -> None:
    tree = ast.parse(f"def f(xs, out):\n{LOOP}f(a, b)")
    cell = instrument(tree)
    assert cell.tree.body[0] is tree.body[0]
    assert ast.unparse(cell.tree.body[1]) == "__cloudbutton__.recompiled(0, f)(a, b)"
    assert find_loops(cell.tree) == []


def test_names_of_the_function_hide_those_of_the_notebook() -> None:
    """What `out` is in the notebook says nothing about the argument of that name."""
    tree = ast.parse(f"def f(xs, out):\n{LOOP}f(a, b)")
    assert instrument(tree, Namespace({"out": open, "xs": iter([])})).refused == ()
