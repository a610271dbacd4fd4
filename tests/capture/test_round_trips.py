"""What a cell defines runs in another process as it runs here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from cloudbutton_backend.capture import capture


@dataclass(frozen=True)
class Case:
    name: str
    cell: str
    """Defines `f`."""
    args: tuple[Any, ...] = (3,)


CASES = [
    Case("lambda", "f = lambda x: x + 1"),
    Case("global", "k = 5\ndef f(x): return x * k"),
    Case("another function", "def g(x): return x * 2\ndef f(x): return g(x) + 1"),
    Case("recursion", "def f(n): return 1 if n < 2 else n * f(n - 1)"),
    Case(
        "mutual recursion",
        "def even(n): return n == 0 or odd(n - 1)\n"
        "def odd(n): return n != 0 and even(n - 1)\n"
        "def f(n): return even(n)",
    ),
    Case(
        "nested closures",
        "def make(a):\n"
        "    def outer(b):\n"
        "        def inner(c): return a + b * c\n"
        "        return inner\n"
        "    return outer\n"
        "f = make(10)(20)",
    ),
    Case("defaults", "def f(x, y=[1, 2], *, z={'a': 3}): return x, y, z"),
    Case(
        "partial",
        "import functools\ndef g(a, b, c=1): return a, b, c\nf = functools.partial(g, 7, c=9)",
    ),
    Case(
        "bound method",
        "class Model:\n"
        "    scale = 3\n"
        "    def __init__(self, w): self.w = w\n"
        "    def predict(self, x): return self.w * x * self.scale\n"
        "f = Model(2).predict",
    ),
    Case("callable object", "class C:\n    def __call__(self, x): return x + 4\nf = C()"),
    Case(
        "class itself", "class C:\n    def __init__(self, x): self.x = x\ndef f(x): return C(x).x"
    ),
    Case(
        "decorated",
        "import functools\n"
        "def twice(fn):\n"
        "    @functools.wraps(fn)\n"
        "    def run(x): return fn(fn(x))\n"
        "    return run\n"
        "@twice\n"
        "def f(x): return x * x",
    ),
    Case(
        "lru_cache",
        (
            "from functools import lru_cache\n@lru_cache(maxsize=7)\n"
            "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)"
        ),
        (30,),
    ),
    Case(
        "cached property",
        "import functools\n"
        "class C:\n"
        "    def __init__(self, x): self.x = x\n"
        "    @functools.cached_property\n"
        "    def double(self):\n"
        "        'Twice.'\n"
        "        return 2 * self.x\n"
        "def f(x):\n"
        "    c = C(x)\n"
        "    return c.double, c.double, vars(c), C.double.__doc__",
    ),
    Case(
        "cached helper",
        (
            "from functools import cache\n@cache\ndef g(n): return n + 1\n"
            "def f(n): return g(n), g.cache_info().maxsize"
        ),
    ),
    Case(
        "singledispatch",
        "from functools import singledispatch\n"
        "@singledispatch\n"
        "def g(x): return 'any'\n"
        "@g.register\n"
        "def _(x: int): return 'int'\n"
        "def f(x): return g(x), g('a')",
    ),
    Case(
        "dataclass",
        "from dataclasses import dataclass, field\n"
        "@dataclass(order=True)\n"
        "class P:\n"
        "    x: int\n"
        "    tags: list = field(default_factory=list)\n"
        "p = P(4)\n"
        "def f(x): return p.x + P(x).x, P(1) < P(2), P(1).tags",
    ),
    Case(
        "enum",
        (
            "import enum\nclass Colour(enum.Enum):\n    RED = 1\n"
            "    def up(self): return self.value + 1\nc = Colour.RED\n"
            "def f(x): return c is Colour.RED, Colour(1).up()"
        ),
    ),
    Case(
        "namedtuple",
        (
            "from collections import namedtuple\nT = namedtuple('T', 'a b')\n"
            "def f(x): return T(x, 2).a"
        ),
    ),
    Case(
        "typed namedtuple",
        (
            "from typing import NamedTuple\nclass T(NamedTuple):\n    a: int\n"
            "    b: int = 2\ndef f(x): return T(x).b"
        ),
    ),
    Case(
        "abstract base",
        (
            "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n"
            "    def g(self): ...\nclass B(A):\n"
            "    def g(self): return super().__init__ and 8\ndef f(x): return B().g()"
        ),
    ),
    Case(
        "super and properties",
        (
            "class A:\n    def g(self): return 1\nclass B(A):\n"
            "    def g(self): return super().g() + 1\n    @property\n"
            "    def h(self): return self.g()\n    @staticmethod\n    def s(): return 5\n"
            "    @classmethod\n    def c(cls): return cls.__name__\n"
            "def f(x): return B().h, B.s(), B.c()"
        ),
    ),
    Case("slots", "class S:\n    __slots__ = ('a',)\ns = S()\ns.a = 6\ndef f(x): return s.a + x"),
    Case(
        "generic",
        (
            "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
            "class Box(Generic[T]):\n    def __init__(self, v): self.v = v\n"
            "def f(x): return Box[int](x).v"
        ),
    ),
    Case(
        "own exception",
        (
            "class Bad(ValueError):\n    pass\ndef f(x):\n    try:\n"
            "        raise Bad(x)\n    except Bad as error:\n        return error.args"
        ),
    ),
    Case(
        "metaclass",
        (
            "class Meta(type):\n    def __call__(cls, *a): return (cls.__name__, a)\n"
            "class M(metaclass=Meta): ...\ndef f(x): return M(x)"
        ),
    ),
    Case(
        "standard library",
        (
            "import math, json\nfrom collections import Counter\n"
            "def f(x): return math.sqrt(x), json.dumps([x]), Counter('aab')['a']"
        ),
    ),
    Case(
        "submodule by attribute",
        (
            "import os, xml.dom.minidom\n"
            "def f(x): return os.path.join('a', 'b'), xml.dom.minidom.Document().nodeName"
        ),
    ),
    Case(
        "numpy",
        (
            "import numpy as np\na = np.arange(5)\n"
            "def f(x): return (a * x).sum().item(), float(np.linalg.norm([3, 4]))"
        ),
    ),
    Case(
        "class in a function",
        "K = 4\ndef f(x):\n    class Local:\n        y = K\n    return Local.y + x",
    ),
    Case(
        "comprehension",
        "k = 2\ndef f(x): return [i * k for i in range(x)], {i: k for i in range(2)}",
    ),
    Case(
        "generator function",
        "def f(x):\n    def g():\n        yield from range(x)\n    return list(g())",
    ),
    Case(
        "async function",
        "import asyncio\nasync def g(x): return x + 1\ndef f(x): return asyncio.run(g(x))",
    ),
    Case(
        "print to stderr",
        "import sys\nerr = sys.stderr\ndef f(x):\n    print('', end='', file=err)\n    return x",
    ),
    Case("logger", "import logging\nlog = logging.getLogger('mine')\ndef f(x): return log.name"),
    Case(
        "shared globals",
        "state = {}\ndef put(x): state['x'] = x\ndef f(x):\n    put(x)\n    return state",
    ),
    Case(
        "global statement",
        "n = 0\ndef bump():\n    global n\n    n += 1\ndef f(x):\n    bump()\n    return n",
    ),
    Case("function attribute", "def f(x): return x + f.offset\nf.offset = 100"),
    Case(
        "import in the function",
        "def f(x):\n    import fractions\n    return str(fractions.Fraction(x, 2))",
    ),
    Case("text held in memory", "import io\nb = io.StringIO('abc')\ndef f(x): return b.getvalue()"),
    Case("unused lock beside it", "import threading\nlock = threading.Lock()\ndef f(x): return x"),
    Case(
        "weak dictionary",
        "import weakref\nregistry = weakref.WeakValueDictionary()\ndef f(x): return len(registry)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_runs_elsewhere_as_here(case: Case, notebook: Any, elsewhere: Any) -> None:
    notebook(case.cell)
    there = elsewhere.call(notebook["f"], *case.args)
    assert there == notebook["f"](*case.args)


def test_a_rerun_cell_is_honoured(notebook: Any, elsewhere: Any) -> None:
    notebook("rate = 1\ndef helper(x): return x + rate")
    notebook("def f(x): return helper(x)")
    assert elsewhere.call(notebook["f"], 1) == 2
    notebook("rate = 10")
    assert elsewhere.call(notebook["f"], 1) == 11
    notebook("def helper(x): return -x")
    assert elsewhere.call(notebook["f"], 1) == -1


def test_a_rerun_class_is_honoured(notebook: Any, elsewhere: Any) -> None:
    notebook("class A:\n    def g(self): return 'old'")
    notebook("def f(): return A().g()")
    assert elsewhere.call(notebook["f"]) == "old"
    notebook("A.g = lambda self: 'patched'")
    assert elsewhere.call(notebook["f"]) == "patched"
    notebook("class A:\n    def g(self): return 'new'")
    assert elsewhere.call(notebook["f"]) == "new"


def test_an_instance_that_returns_is_of_the_class_here(notebook: Any, elsewhere: Any) -> None:
    notebook("class A:\n    def g(self): return k\nk = 1\ndef f(): return A()")
    method = notebook["A"].g
    returned = elsewhere.call(notebook["f"])
    assert type(returned) is notebook["A"]
    assert notebook["A"].g is method


def test_a_returned_instance_sees_later_changes_of_the_notebook(
    notebook: Any, elsewhere: Any
) -> None:
    notebook("class A:\n    def g(self): return k\nk = 1\ndef f(): return A()")
    returned = elsewhere.call(notebook["f"])
    notebook("k = 2")
    assert returned.g() == 2


def test_an_enum_member_that_returns_is_the_member_here(notebook: Any, elsewhere: Any) -> None:
    notebook("import enum\nclass E(enum.Enum):\n    A = 1\ndef f(): return E.A")
    assert elsewhere.call(notebook["f"]) is notebook["E"].A


def test_a_class_made_in_a_task_returns_by_value(notebook: Any, elsewhere: Any) -> None:
    notebook("def f():\n    class Made:\n        def g(self): return 5\n    return Made()")
    assert elsewhere.call(notebook["f"]).g() == 5


def test_only_names_the_code_uses_travel(notebook: Any) -> None:
    notebook("secret = 'hunter2'\nused = 'shown'\ndef f(): return used\ndef other(): return secret")
    payload = capture(notebook["f"]).function
    assert b"shown" in payload
    assert b"hunter2" not in payload


def test_digest_is_the_same_for_the_same_cell_in_another_kernel(notebook: Any) -> None:
    cell = "k = 3\nclass A: ...\ndef f(x): return A, x * k"
    notebook("pass")
    notebook(cell)
    first = capture(notebook["f"]).digest
    again = type(notebook)()
    again(cell)
    assert capture(again["f"]).digest == first


@pytest.mark.parametrize("change", ["k = 4", "def f(x): return x + k"])
def test_digest_changes_with_values_and_code(notebook: Any, change: str) -> None:
    notebook("k = 3\ndef f(x): return x * k")
    first = capture(notebook["f"]).digest
    notebook(change)
    assert capture(notebook["f"]).digest != first
