"""Tables of tiny loops: the verdict on each, with its reason, line and shared names."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cloudbutton_magic.analysis import Namespace, NotIndependent, Parallel, analyse, find_loops


@dataclass(frozen=True)
class Case:
    """One loop and what is to be found in it."""

    code: str
    refused: str = ""
    line: int = 0
    name: str = ""
    shared: set[str] = field(default_factory=set)
    local: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return self.code


LIVE: dict[str, Any] = {
    "xs": [1, 2, 3], "out": [], "d": {}, "s": set(), "a": np.zeros(9), "total": 0, "text": "",
    "rng": np.random.default_rng(0), "np": np, "rows": [[1], [2]], "state": 1.5, "best": 0,
}  # fmt: skip

PARALLEL = [
    Case("for x in xs: out.append(x)", shared={"out"}, local={"x"}),
    Case("for x in xs: s.add(x)", shared={"s"}, local={"x"}),
    Case("for x in xs: d[x] = x", shared={"d"}, local={"x"}),
    Case("for i in range(9): a[i] = i", shared={"a"}, local={"i"}),
    Case("for i in range(9): a[i] = g(a[i])", shared={"a"}, local={"i"}),
    Case("for x in xs: total += x", shared={"total"}, local={"x"}),
    Case("for x in xs: total = total + g(x)", shared={"total"}, local={"x"}),
    Case("for x in xs: best = max(best, g(x))", shared={"best"}, local={"x"}),
    Case("for x in xs:\n y = x\n y += 1\n out.append(y)", shared={"out"}, local={"x", "y"}),
    Case("for x in xs:\n if x: y = 1\n else: y = 2\n out.append(y)", shared={"out"}, local={"x", "y"}),
    Case("for x in xs:\n for q in x: total += q", shared={"total"}, local={"x", "q"}),
    Case("for (a1, *b1), c1 in xs: out.append(c1)", shared={"out"}, local={"a1", "b1", "c1"}),
    Case("for x in xs:\n with open(x) as h: t = h.read()\n out.append(t)",
         shared={"out"}, local={"x", "h", "t"}),
    Case("for x in xs:\n try: y = g(x)\n except E as e: y = e\n out.append(y)",
         shared={"out"}, local={"x", "y", "e"}),
    Case("for x in xs:\n if (m := g(x)) and m > 1: out.append(m)", shared={"out"}, local={"x", "m"}),
    Case("for x in xs:\n match x:\n  case [p, *q]: y = p\n  case _: y = 0\n out.append(y)",
         shared={"out"}, local={"x", "p", "q", "y"}),
    Case("for x in xs:\n import math as m\n out.append(m.pi)", shared={"out"}, local={"x", "m"}),
    Case("for x in xs:\n out.append(y)\n y = g(x)", shared={"out", "y"}, local={"x"}),
    Case("for x in xs: d.setdefault(x, []).append(1)", shared={"d"}, local={"x"}),
    Case("for x in xs: out.append([total for total in x])", shared={"out"}, local={"x"}),
    Case("for x in xs: out.append(sorted(x, key=lambda v: v[0]))", shared={"out"}, local={"x"}),
    Case("for x in xs: out.append(f'{x:>{total}}')", shared={"out"}, local={"x"}),
    Case("for x in xs:\n y = g(x)\n if y > best:\n  best = y\n  d['arg'] = x",
         shared={"best", "d"}, local={"x", "y"}),
    Case("[g(x) for x in xs if x]", local={"x"}),
    Case("{g(x): y for x in xs for y in x}", local={"x", "y"}),
    Case("sum(g(x) for x in xs)", local={"x"}),
    Case("', '.join(str(x) for x in xs)", local={"x"}),
]  # fmt: skip

REFUSED = [
    Case("for x in xs: state = g(state, x)", "CARRIED", 1, "state"),
    Case("for x in xs:\n y = g(y)", "CARRIED", 2, "y"),
    Case("for x in xs:\n if x: y = 1\n out.append(g(y))", "CARRIED", 3, "y"),
    Case("for x in xs:\n rec = g(x)\n total += 1\n rec['n'] = total", "CARRIED", 4, "total"),
    Case("for x in xs:\n while total < g(x): total += 1", "CARRIED", 2, "total"),
    Case("for x in xs: out.append(len(out))", "READS_ACCUMULATOR", 1, "out"),
    Case("for x in xs:\n if x not in s:\n  s.add(x)", "READS_ACCUMULATOR", 2, "s"),
    Case("for i in range(8): a[i + 1] = g(a[i])", "READS_ACCUMULATOR", 1, "a"),
    Case("for i in range(8):\n a[i] = 1\n out.append(g(a[i]))", "READS_ACCUMULATOR", 3, "a"),
    Case("for i in range(8): a[i:i + 2] = g(a[i:i + 2])", "READS_ACCUMULATOR", 1, "a"),
    Case("for x in xs:\n if x: break", "LEAVES_EARLY", 2, "break"),
    Case("for x in xs:\n try:\n  g(x)\n finally:\n  break", "LEAVES_EARLY", 5, "break"),
    Case("for x in xs: out.append((yield))", "SUSPENDS", 1, "yield"),
    Case("for x in xs:\n global z\n z = x", "GLOBAL_WRITE", 2, "z"),
    Case("for x in xs: xs.append(x)", "ITERABLE_CHANGES", 1, "xs"),
    Case("for i, x in enumerate(xs): xs[i] = g(x)", "ITERABLE_CHANGES", 1, "xs"),
    Case("for k, v in d.items(): d[k] = g(v)", "ITERABLE_CHANGES", 1, "d"),
    Case("for x in xs: out.append(rng.random())", "RANDOM", 1),
    Case("for x in xs: out.append(np.random.rand())", "RANDOM", 1),
    Case("for x in xs: model.fit(x)", "MUTATES_CAPTURED", 1, "model"),
    Case("for x in xs: thing.attr = x", "ATTRIBUTE_WRITE", 1, "thing"),
    Case("for x in xs:\n r = rows[x]\n r.append(x)", "ALIASED", 3, "r"),
    Case("for x in xs:\n def h(): return x", "DEFINES", 2, "h"),
    Case("for x in xs: out.append(lambda: x)", "DEFINES", 1),
    Case("for x in xs:\n h = lambda: x\n out.append(h())", "DEFINES", 2),
    Case("for x in xs: exec('y = x')", "NAMESPACE", 1, "exec"),
    Case("for x in xs: out.append(id(x))", "IDENTITY", 1, "id"),
    Case("for x in xs: out.append(x is rows)", "IDENTITY", 1),
    Case("for x in xs: out.append(list(set(x)))", "SET_ORDER", 1),
    Case("for x in xs:\n u = set(x)\n for v in u: out.append(v)", "SET_ORDER", 3),
    Case("for x in xs: out.append(next(it))", "ITERATOR", 1, "it"),
    Case("for d['k'] in xs: out.append(1)", "UNSUPPORTED", 1),
    Case("for x in xs:\n total += g(x)\n print(total)\n g(x)", "ORDER_OF_OUTPUT", 3, "total"),
]  # fmt: skip


def only_verdict(code: str) -> Parallel | NotIndependent:
    (loop,) = find_loops(ast.parse(code))
    return analyse(loop, Namespace(LIVE), iterable=LIVE["xs"], fixed_hash_seed=False)


@pytest.mark.parametrize("case", PARALLEL, ids=str)
def test_iterations_are_found_independent(case: Case) -> None:
    verdict = only_verdict(case.code)
    assert isinstance(verdict, Parallel), verdict
    assert verdict.shared == case.shared
    assert verdict.local == case.local


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_dependence_is_named_with_its_line(case: Case) -> None:
    verdict = only_verdict(case.code)
    assert isinstance(verdict, NotIndependent), verdict
    assert (verdict.reason.name, verdict.line) == (case.refused, case.line), verdict
    assert verdict.name == case.name or not case.name


def test_a_refusal_says_what_would_make_it_parallel() -> None:
    assert str(only_verdict("for x in xs: state = g(state, x)")) == (
        "line 1 reads `state`, which the previous iteration wrote; to run it in parallel, "
        "compute it from the item alone, or move that part to a loop of its own"
    )


def test_a_loop_that_changes_what_it_walks_over_is_told_what_to_copy() -> None:
    (loop,) = find_loops(ast.parse("for i, row in df.iterrows():\n    df.loc[i, 'x'] = g(row)"))
    assert "walks over: `list(df.iterrows())`" in str(analyse(loop, Namespace({})))


def test_a_verdict_says_what_stays_in_order() -> None:
    verdict = only_verdict("for x in xs:\n    out.append(g(x))\n    total += x")
    assert str(verdict) == (
        "line 1: loop with independent iterations; here, in order: out.append(g(x)); total += x"
    )


def test_set_order_does_not_matter_with_a_fixed_hash_seed() -> None:
    (loop,) = find_loops(ast.parse("for x in xs: out.append(list(set(x)))"))
    assert isinstance(analyse(loop, Namespace(LIVE), fixed_hash_seed=True), Parallel)


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("for x in xs:\n for y in x: pass", [1]),
        ("if c:\n for x in xs: pass\nelse:\n y = [x for x in xs]", [2, 4]),
        ("try:\n for x in xs: pass\nexcept E:\n for x in xs: pass", [2, 4]),
        ("def f():\n for x in xs: pass", []),
        ("class C:\n ys = [x for x in xs]", []),
        ("f(x for x in xs)", []),
        ("ys = sum(x for x in xs) + len([x for x in xs])", [1, 1]),
        ("g = (x for x in xs)", []),
        ("h = lambda: [x for x in xs]", []),
        ("while [x for x in xs]:\n [x for x in xs]", [2]),
        ("async def f():\n return [x async for x in xs]", []),
    ],
)
def test_loops_are_found_where_they_run_once(code: str, lines: list[int]) -> None:
    assert [loop.line for loop in find_loops(ast.parse(code))] == lines
