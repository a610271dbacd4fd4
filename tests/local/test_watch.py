"""What items share and one of them changes is noticed, by maps and by the button, and nothing else is."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cloudbutton_backend.worker.watch import Graph, Guard

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
    "keyword-only default": "def f(x, *, seen=[]): seen.append(x)",
    "keyword-only default of a helper": "def g(x, *, seen=[]): seen.append(x)\ndef f(x): g(x)",
    "default of a helper": "def g(x, seen=[]): seen.append(x)\ndef f(x): g(x)",
    "what a method uses": "n = [0]\nclass A:\n    def m(self, x): n[0] += x\na = A()\ndef f(x): a.m(x)",
    "what a cached function uses": "import functools\nn = [0]\n"
    "@functools.lru_cache\ndef g(x): n[0] += x\ndef f(x): g(x)",
    "what an operator uses": "n = [0]\nclass A:\n    def __getitem__(self, x): n[0] += x\n"
    "a = A()\ndef f(x): a[x]",
    "what a property uses": "n = [0]\nclass A:\n    @property\n    def p(self): n[0] += 1\n"
    "a = A()\ndef f(x): a.p",
    "variable of a closure": "def make():\n    n = 0\n    def f(x):\n        nonlocal n\n        n += x\n"
    "    return f\nf = make()",
    "object of a method": "seen = []\nadd = seen.append\ndef f(x): add(x)",
    "argument of a partial": "import functools\ndef g(a, x): a.append(x)\nf = functools.partial(g, [])",
    "function itself": "class A:\n    n = 0\n    def __call__(self, x): self.n += x\nf = A()",
    "part of a part": "d = {'a': [{'b': 0}]}\ndef f(x): d['a'][0]['b'] = x",
    "order of a dictionary": "d = {1: 1, 2: 2}\ndef f(x): d[1] = d.pop(1)",
    "entry by an equal one of another type": "n = [1]\ndef f(x): n[0] = True",
    "sign of a zero": "n = [0.0]\ndef f(x): n[0] = -0.0",
    "queue": "import collections\nq = collections.deque()\ndef f(x): q.append(x)",
    "attribute of a list": "class L(list): pass\nn = L()\ndef f(x): n.x = x",
    "array of the standard library": "import array\na = array.array('i', [0])\ndef f(x): a[0] = x",
    "file in memory": "import io\nfile = io.StringIO()\ndef f(x): file.write('x')",
    "iterator": "i = iter([1, 2, 3])\ndef f(x): next(i)",
    "random generator": "import random\nr = random.Random(1)\ndef f(x): r.random()",
    "attribute of a library's object": "import networkx as nx\ng = nx.path_graph(4)\ndef f(x): g.x = x",
    "part of a library's object, and a cache": "import networkx as nx\ng = nx.path_graph(4)\n"
    "def f(x): g.adj[0][1]['weight'] = x",
    "NumPy array": "import numpy as np\na = np.zeros(9)\ndef f(x): a[0] = x",
    "record": "import numpy as np\nr = np.zeros(1, 'i,i')[0]\ndef f(x): r[0] = x",
    "random generator of NumPy": "import numpy as np\nr = np.random.default_rng(1)\ndef f(x): r.random()",
    "column of a frame": "import pandas as pd\nd = pd.DataFrame({'a': [0]})\ndef f(x): d['b'] = x",
    "value in a frame": "import pandas as pd\nd = pd.DataFrame({'a': ['x']})\ndef f(x): d.loc[0, 'a'] = 'y'",
    "module's own": "def f(x): own.bump(x)",
    "attribute of a module": "def f(x): own.N = x",
    "list of a module": "def f(x): own.SEEN.append(x)",
}
STEADY = {
    "reads": "n = [1]\nclass A:\n    k = [2]\n    def m(self): return self.k\n"
    "def f(x): return n, A().m(), own.SEEN",
    "an entry replaced by an equal one": "n = [5.0, 'ab']\ndef f(x): n[:] = [x + 2.0, 'a' + str('b')]",
    "what a library's property keeps": "import networkx as nx\ng = nx.path_graph(4)\n"
    "def f(x): return nx.shortest_path_length(g, 0, x), g.adj[0]",
    "a cache": "import functools\n@functools.lru_cache\ndef g(x): return x\ndef f(x): return g(x)",
    "arrays and frames": "import numpy as np, pandas as pd\na = np.zeros(9)\n"
    "d = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})\n"
    "def f(x): return a.sum(), d.a.mean(), d.b[0], d.groupby('b').a.sum(), np.mean(a)",
    "patterns and dates": "import re, datetime, decimal\np = re.compile('a')\nd = datetime.date.today()\n"
    "n = decimal.Decimal(1)\ndef f(x): return p.match('ab'), d.isoformat(), n + 1",
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


NAMES = {
    "n = 0\ndef f(x):\n    global n\n    n += x": ["n"],
    "def f(x, *, seen=[]): seen.append(x)": ["seen (default of f)"],
    "def g(x, a, b=1, seen=[]): seen.append(x)\ndef f(x): g(x, 1)": ["seen (default of g)"],
    "def f(x): own.bump(x)": ["own.Kept.count", "own.N", "own.SEEN"],
    "class A:\n    seen = []\n    def m(self, x): self.seen.append(x)\nf = A().m": ["A.seen"],
    "class A:\n    n = 0\n    def m(self, x): self.n += x\nf = A().m": ["self"],
    "class A:\n    n = 0\n    def __call__(self, x): self.n += x\nf = A()": ["A"],
    "def f(x): f.n += x\nf.n = 0": ["f.n"],
    "def make(n):\n    def f(x): n.append(x)\n    return f\nf = make([])": ["n"],
    "import functools\ndef g(a, x): a.append(x)\nf = functools.partial(g, [])": [
        "an argument of g"
    ],
    "a = {'b': [[]]}\ndef f(x): a['b'][0].append(x)": ["a"],
}


def function_of(cell: str) -> Any:
    own = types.ModuleType("own")  # as a worker rebuilds one of the user's
    exec(OWN, vars(own))
    namespace: dict[str, Any] = {"__name__": "__main__", "own": own}
    exec(cell, namespace)
    return namespace["f"]


def changed(cell: str) -> list[str]:
    function = function_of(cell)
    guard = Guard(function)
    assert guard.changed() == []
    function(3)
    return guard.changed()


def changed_for_the_button(cell: str) -> list[Any]:
    function = function_of(cell)
    graph = Graph({"": function}, large="freeze")
    assert graph.changed() == []
    function(3)
    return graph.changed()


@pytest.mark.parametrize("cell", CHANGING.values(), ids=CHANGING)
def test_a_change_of_what_items_share_is_noticed(cell: str) -> None:
    assert changed(cell)
    assert changed_for_the_button(cell)


@pytest.mark.parametrize("cell", STEADY.values(), ids=STEADY)
def test_what_an_item_keeps_to_itself_is_no_change(cell: str) -> None:
    assert changed(cell) == []
    sys.modules.pop("colorsys", None)
    assert changed_for_the_button(cell) == []
    sys.modules.pop("colorsys", None)


@pytest.mark.parametrize(("cell", "names"), NAMES.items())
def test_a_change_is_told_by_the_name_that_the_user_gave(cell: str, names: list[str]) -> None:
    assert sorted(changed(cell)) == sorted(names)


def test_a_change_is_told_once() -> None:
    function = function_of("seen = []\ndef f(x): seen.append(x)")
    guard = Guard(function)
    told = []
    for _ in range(2):
        function(1)
        told += [guard.changed(), guard.changed()]
    assert told == [["seen"], [], ["seen"], []]


def test_of_too_many_objects_the_near_ones_are_watched() -> None:
    cell = "far = [[n] for n in range(100_000)]\nnear = [[]]\ndef f(x): far.append(x), near[0].append(x)"
    assert set(changed(cell)) == {"far", "near"}
