"""What a loop may walk over when the values in its header come from earlier cells."""

from __future__ import annotations

import ast
import itertools
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from tqdm import trange

from cloudbutton_magic.analysis import Parallel
from cloudbutton_magic.button import plan

EARLIER: dict[str, Any] = {
    "combinations": combinations, "itertools": itertools, "np": np, "trange": trange,
    "n": 10, "T": 5.0, "xs": [3, 1, 2], "text": "abc", "once": iter([1, 2, 3]),
}  # fmt: skip

INDEPENDENT = [
    "range(n)", "range(0, n, 2)", "range(len(xs))", "range(int(T))", "range(max(xs))",
    "range(round(T) + n)", "reversed(range(n))", "list(range(n))", "trange(n)",
    "zip(xs, range(n))", "enumerate(range(n))", "map(str, range(n))",
    "combinations(range(n), 2)", "itertools.product(range(n), xs)", "itertools.repeat(text, n)",
    "np.arange(n)", "np.linspace(0, T, n)", "np.ndindex(n, n)", "np.random.permutation(n)",
]  # fmt: skip

SHARED = [
    "once",
    "zip(xs, once)",
    "enumerate(once)",
    "range(next(once))",
    "itertools.chain(once, xs)",
]


def verdicts(header: str) -> list[object]:
    loops = f"ys = [f(x) for x in {header}]\nfor x in {header}:\n    zs.append(f(x))"
    names = {**EARLIER, "zs": []}
    exec("def f(x): return x", names)
    cell = plan(ast.parse(loops), names)
    return [loop.verdict for loop in cell.loops] + list(cell.refused)


@pytest.mark.parametrize("header", INDEPENDENT)
def test_a_number_in_a_header_is_an_argument_and_not_walked(header: str) -> None:
    found = verdicts(header)
    assert len(found) == 2
    assert all(isinstance(verdict, Parallel) for verdict in found), found


@pytest.mark.parametrize("header", SHARED)
def test_an_iterator_of_an_earlier_cell_is_shared(header: str) -> None:
    assert not any(isinstance(verdict, Parallel) for verdict in verdicts(header))
