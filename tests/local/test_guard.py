"""Whatever of what items share one of them changes is noticed, and nothing else is."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cloudbutton_backend.worker.guard import Guard

OWN = """
N = 0
SEEN = []
class Kept:
    count = 0
def bump(x):
    global N
    N += 1
    SEEN.append(x)
    Kept.count += 1
"""
CHANGING = {
    "global": "n = 0\ndef f(x):\n    global n\n    n += x",
    "global that is not there yet": "def f(x):\n    global late\n    late = x",
    "value in place": "seen = []\ndef f(x): seen.append(x)",
    "attribute of an object": "class A: pass\na = A()\ndef f(x): a.n = x",
    "attribute of a class": "class A:\n    n = 0\ndef f(x): A.n += x",
    "attribute that a class has not yet": "class A: pass\ndef f(x): A.n = x",
    "list of a class": "class A:\n    seen = []\ndef f(x): A().seen.append(x)",
    "attribute of the function": "def f(x): f.n += x\nf.n = 0",
    "default": "def f(x, seen=[]): seen.append(x)",
    "default of a helper": "def g(x, seen=[]): seen.append(x)\ndef f(x): g(x)",
    "what a method uses": "n = [0]\nclass A:\n    def m(self, x): n[0] += x\na = A()\ndef f(x): a.m(x)",
    "what a cached function uses": "import functools\nn = [0]\n"
    "@functools.lru_cache\ndef g(x): n[0] += x\ndef f(x): g(x)",
    "module's own": "def f(x): own.bump(x)",
    "attribute of a module": "def f(x): own.N = x",
    "list of a module": "def f(x): own.SEEN.append(x)",
}
STEADY = {
    "reads": "n = [1]\nclass A:\n    k = [2]\n    def m(self): return self.k\n"
    "def f(x): return n, A().m(), own.SEEN",
    "locals": "def f(x):\n    n = [x]\n    n.append(x)\n    return n",
    "objects of its own": "class A:\n    def __init__(self): self.n = []\ndef f(x):\n"
    "    a = A()\n    a.n.append(x)\n    a.k = x\n    return a",
    "a module loaded only now": "def f(x):\n    global late\n    import colorsys as late",
    "enumerations, data classes and abstract ones": "import abc, dataclasses, enum\n"
    "class E(enum.Flag):\n    A = 1\n    B = 2\n"
    "@dataclasses.dataclass\nclass D:\n    x: int = 1\n"
    "class B(abc.ABC):\n    @abc.abstractmethod\n    def m(self): pass\n"
    "class C(B):\n    def m(self): return E.A | E.B\n"
    "def f(x): return D(x), C().m(), isinstance(x, B), E(3)",
}


def changed(cell: str) -> list[str]:
    own = types.ModuleType("own")  # as a worker rebuilds one of the user's
    exec(OWN, vars(own))
    namespace: dict[str, Any] = {"__name__": "__main__", "own": own}
    exec(cell, namespace)
    guard = Guard(namespace["f"])
    assert guard.changed() == []
    namespace["f"](3)
    return guard.changed()


@pytest.mark.parametrize("cell", CHANGING.values(), ids=CHANGING)
def test_a_change_of_what_items_share_is_noticed(cell: str) -> None:
    assert changed(cell)


@pytest.mark.parametrize("cell", STEADY.values(), ids=STEADY)
def test_what_an_item_keeps_to_itself_is_no_change(cell: str) -> None:
    assert changed(cell) == []
    sys.modules.pop("colorsys", None)
