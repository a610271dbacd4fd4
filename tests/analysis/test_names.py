"""Names resolved as Python resolves them, and what is read before it is bound."""

from __future__ import annotations

import ast

import pytest

from cloudbutton_magic.analysis.data_flow import DefiniteAssignment
from cloudbutton_magic.analysis.syntax import uses


@pytest.mark.parametrize(
    ("code", "reads", "binds"),
    [
        ("y = x", {"x"}, {"y"}),
        ("y += x", {"x", "y"}, {"y"}),
        ("a[i] = x", {"a", "i", "x"}, set()),
        ("[x for x in xs]", {"xs"}, set()),
        ("[x for x in x]", {"x"}, set()),
        ("[y for x in xs for y in x if y > z]", {"xs", "z"}, set()),
        ("[(y := x) for x in xs]", {"xs"}, {"y"}),
        ("f(lambda v, w=d: v + w + u)", {"f", "d", "u"}, set()),
        ("def f(v: T = d) -> R:\n w = v\n return w + u", {"T", "d", "R", "u"}, {"f"}),
        ("class C(B):\n n = 1\n m = n + k", {"B", "n", "k"}, {"C"}),
        ("import a.b as c, d.e", set(), {"c", "d"}),
        ("try: f()\nexcept E as e: g(e)", {"f", "E", "g", "e"}, {"e"}),
        ("for a, *b in c: pass", {"c"}, {"a", "b"}),
        ("with f() as (g, h): pass", {"f"}, {"g", "h"}),
        ("match v:\n case {'k': p, **r} | [p, *r] if p: pass", {"v", "p"}, {"p", "r"}),
        ("f'{x!r:{w}}'", {"x", "w"}, set()),
        ("del x, y[0]", {"y"}, set()),
        ("x: T = v", {"T", "v"}, {"x"}),
    ],
)
def test_reads_and_binds(code: str, reads: set[str], binds: set[str]) -> None:
    found = uses(ast.parse(code).body)
    assert (set(found.reads), set(found.binds)) == (reads, binds)


@pytest.mark.parametrize(
    ("code", "unbound"),
    [
        ("y = 1\nf(y)", set()),
        ("f(y)\ny = 1", {"y"}),
        ("if c: y = 1\nf(y)", {"y"}),
        ("if c: y = 1\nelse: y = 2\nf(y)", set()),
        ("if c: y = 1\nelse: raise E\nf(y)", set()),
        ("if not c: continue\nelse: y = 1\nf(y)", set()),
        ("for q in qs: y = q\nf(y)", {"y"}),
        ("for q in qs:\n if q: break\nelse: q = 0\nf(q)", set()),
        ("while True:\n y = g()\n if y: break\nf(y)", set()),
        ("while c: y = 1\nf(y)", {"y"}),
        ("try: y = g()\nexcept E: continue\nf(y)", set()),
        ("try: y = g()\nexcept E: pass\nf(y)", {"y"}),
        ("try: pass\nfinally: y = 1\nf(y)", set()),
        ("with suppress(E): y = 1\nf(y)", {"y"}),
        ("with open(p) as h: y = 1\nf(y)", set()),
        ("f((y := 1), y)", set()),
        ("if c and (y := g()): f(y)", set()),
        ("if c or (y := g()): f(y)", {"y"}),
        ("y = 1\ndel y\nf(y)", {"y"}),
        ("f([y for y in ys])\ny = 1", set()),
        ("f(lambda: y)\ny = 1", {"y"}),
        ("y += 1", {"y"}),
        ("match v:\n case 1: y = 1\n case _: y = 2\nf(y)", set()),
        ("match v:\n case 1: y = 1\nf(y)", {"y"}),
        ("y[0] = 1\ny = 2", {"y"}),
    ],
)
def test_what_is_read_before_it_is_bound(code: str, unbound: set[str]) -> None:
    tree = ast.parse(f"for _ in _:\n{_indented(code)}").body[0]
    assert isinstance(tree, ast.For)
    found = DefiniteAssignment(tree.body, bound=(), watched=set(uses(tree.body).binds))
    assert set(found.unbound) == unbound


def _indented(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())
