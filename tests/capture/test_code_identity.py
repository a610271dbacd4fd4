"""Code keeps where it was written, whichever cloudpickle there is: tracebacks show the user's lines by that.

Nothing here depends on a version of cloudpickle. To try one, name the folder that it is installed in on
`PYTHONPATH`; to try another one where the code runs, in `TEST_OTHER_CLOUDPICKLE`.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from cloudbutton_backend.capture import capture, dump_items, load_result
from cloudbutton_backend.worker import pickling
from tests.capture.conftest import CLOUDPICKLE, Elsewhere, Notebook

#: Finds all code behind a value, and says of each what identifies it. Runs here and in the other process.
PROBE = '''
import functools, types

def codes(value):
    """Return the code objects behind a value of the notebook's, nested ones included."""
    found, todo, seen = [], [value], []
    while todo:
        each = todo.pop()
        if any(each is other for other in seen):
            continue
        seen.append(each)
        if isinstance(each, types.CodeType):
            found.append(each)
            todo += each.co_consts
        elif isinstance(each, types.FunctionType):
            todo += [each.__code__, each.__defaults__, each.__kwdefaults__, vars(each)]
            todo += [cell.cell_contents for cell in each.__closure__ or ()]
        elif isinstance(each, (types.MethodType, classmethod, staticmethod)):
            todo.append(each.__func__)
        elif isinstance(each, (functools.partial, functools.cached_property)):
            todo.append(each.func)
        elif isinstance(each, property):
            todo += [each.fget, each.fset]
        elif isinstance(each, type):
            if each.__module__ == "__main__":
                todo += vars(each).values()
        elif isinstance(each, (list, tuple, dict)):
            todo += each.values() if isinstance(each, dict) else each
        elif hasattr(each, "__wrapped__"):
            todo.append(each.__wrapped__)
        else:
            todo.append(type(each))
    return sorted(found, key=lambda code: (code.co_firstlineno, code.co_name, code.co_code))

def probe(names):
    """Return of each code object behind `f` what it has by these names."""
    def said(code, name):
        value = getattr(code, name, None)
        return list(value()) if callable(value) else value
    return [[said(code, name) for name in names] for code in codes(f)]
'''

ASPECTS = {
    "file name": ("co_filename",),
    "first line": ("co_firstlineno",),
    "name": ("co_name",),
    "qualified name": ("co_qualname",),  # since 3.11
    "line of each instruction": ("co_lines",),
    "place of each instruction": ("co_positions",),  # since 3.11
    "handlers of exceptions": ("co_exceptiontable",),  # since 3.11
    "arguments and variables": (
        "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_nlocals",
        "co_varnames", "co_freevars", "co_cellvars", "co_flags", "co_stacksize",
    ),
    "instructions": ("co_code", "co_names"),
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A way in which code is held; the cell defines `f`."""

    name: str
    cell: str
    n_codes: int = 1
    """Code objects behind `f`, at least: comprehensions have none of their own since Python 3.12."""


KINDS = [
    Kind("function", "def f(a, /, b, *, c=1):\n    return a + b + c"),
    Kind("lambda", "f = (lambda x:\n    x + 1)"),
    Kind(
        "nested",
        """\
def f(x):
    def g(y):
        return (lambda z: z + y)(x)
    return g(x)""",
        3,
    ),
    Kind(
        "closure",
        """\
def make(n):
    def inner(x):
        return x + n
    return inner
f = make(3)""",
    ),
    Kind(
        "comprehensions", "def f(x):\n    return [a for a in x], {a for a in x}, {a: 1 for a in x}"
    ),
    Kind(
        "generator expression",
        """\
def f(x):
    return sum(
        a for a in x)""",
        2,
    ),
    Kind(
        "generator",
        """\
def f(x):
    yield x

    yield from f(x)""",
    ),
    Kind(
        "coroutine",
        """\
async def f(x):
    async with x as y:
        return await y""",
    ),
    Kind(
        "asynchronous generator",
        """\
async def f(x):
    async for y in x:
        yield y""",
    ),
    Kind(
        "exceptions",
        """\
def f(x):
    try:
        return 1 / x
    except OSError as e:
        raise e
    finally:
        x = 0""",
    ),
    Kind(
        "class",
        """\
class f:
    def one(self):
        return 1

    def two(self):
        return lambda: 2""",
        3,
    ),
    Kind(
        "class in a function",
        """\
def f(x):
    class Inner:
        def one(self):
            return x
    return Inner()""",
        3,
    ),
    Kind(
        "descriptors",
        """\
import functools
class f:
    @property
    def a(self): return 1
    @a.setter
    def a(self, v): pass
    @staticmethod
    def b(): return 2
    @classmethod
    def c(cls): return 3
    @functools.cached_property
    def d(self): return 4""",
        5,
    ),
    Kind(
        "data class",
        """\
from dataclasses import dataclass
@dataclass
class f:
    n: int = 0
    def one(self):
        return self.n""",
        2,
    ),
    Kind(
        "enumeration",
        """\
import enum
class f(enum.Enum):
    A = 1
    def one(self):
        return self.value""",
    ),
    Kind(
        "instance",
        """\
class C:
    def __call__(self, x):
        return x
f = C()""",
    ),
    Kind(
        "bound method",
        """\
class C:
    def one(self, x):
        return x
f = C().one""",
    ),
    Kind(
        "partial",
        """\
import functools
def g(a, b):
    return a + b
f = functools.partial(g, 1)""",
    ),
    Kind(
        "cached",
        """\
import functools
@functools.lru_cache(maxsize=7)
def f(x):
    return x""",
    ),
    Kind(
        "decorated",
        """\
import functools
def twice(g):
    @functools.wraps(g)
    def run(x):
        return g(g(x))
    return run
@twice
def f(x):
    return x + 1""",
        2,
    ),
    Kind("default", "def f(x, key=lambda v: -v, *, other=lambda v: v):\n    return key(x)", 3),
    Kind(
        "attribute",
        """\
def f(x):
    return f.other(x)
f.other = lambda x: x""",
    ),
    Kind("in containers", "f = {'a': [lambda x: x], 'b': (lambda x: -x,)}", 2),
    Kind(
        "code object", "f = compile('def g(x):\\n    return x\\n', 'written/by/hand.py', 'exec')", 2
    ),
    Kind(
        "renamed code",
        """\
def g(x):
    return x
f = g.__code__.replace(co_filename='else.py', co_firstlineno=70, co_name='h')""",
    ),
    Kind(
        "sets among constants",
        "def f(x):\n    return x in {'a', 'b'} or (lambda: x in {1, 2, 3})()",
        2,
    ),
]


@pytest.mark.parametrize("names", ASPECTS.values(), ids=ASPECTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_code_elsewhere_is_what_it_is_here(
    kind: Kind, names: tuple[str, ...], notebook: Notebook, elsewhere: Elsewhere
) -> None:
    notebook(kind.cell)
    notebook(PROBE)
    here = notebook["probe"](names)
    assert len(here) >= kind.n_codes
    assert elsewhere.call(notebook["probe"], names) == here


def test_the_cloudpickle_there_is_the_one_to_be_tried(
    notebook: Notebook, elsewhere: Elsewhere
) -> None:
    notebook("def f(_): import cloudpickle; return cloudpickle.__file__")
    assert Path(elsewhere.call(notebook["f"], 0)).is_relative_to(CLOUDPICKLE)


def in_a_row(function: Any) -> tuple[Any, ...]:
    return function.__name__, function.__qualname__, function.__module__, function.__doc__


@pytest.mark.parametrize(
    "cell",
    [
        "def f(x):\n    'Say x.'\n    return x",
        "f = lambda x: x",
        "def make():\n    def inner(x): return x\n    return inner\nf = make()",
        "class C:\n    def f(self):\n        return 1\nf = C.f",
        "def f(x): return x\nf.__name__, f.__qualname__ = 'other', 'Some.other'",
    ],
)
def test_a_function_keeps_its_names(cell: str, notebook: Notebook, elsewhere: Elsewhere) -> None:
    notebook(cell)
    notebook["in_a_row"] = in_a_row
    notebook("def asked(_): return in_a_row(f)")
    assert elsewhere.call(notebook["asked"], 0) == in_a_row(notebook["f"])


WAYS: dict[str, Callable[[Any], Any]] = {
    "captured": lambda value: pickle.loads(capture(lambda: value).function)(),
    "as an item": lambda value: pickle.loads(dump_items([value])[0])[0],
    "as a result": lambda value: load_result([pickling.dumps(value)]),
    "in an error": lambda value: pickle.loads(pickling.dumps(ValueError(value))).args[0],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    "cell",
    [
        "def f():\n    def g():\n        return 1 / 0\n    return g()",
        "class C:\n    def f(self):\n        return [1 / n for n in (1, 0)]\nf = C().f",
        "def f(n=1):\n    if n:\n        return f(0)\n\n    raise ValueError",
        """\
def make():
    def f():
        try:
            {}['a']
        finally:
            next(i / 0 for i in [1])
    return f
f = make()""",
    ],
    ids=["nested", "method", "recursive", "generator expression"],
)
def test_an_error_in_a_function_that_has_travelled_shows_the_lines_of_the_cell(
    cell: str, way: Callable[[Any], Any], notebook: Notebook
) -> None:
    def shown(function: Any) -> list[tuple[str, int | None, str, str | None]]:
        with pytest.raises((ArithmeticError, ValueError)) as caught:
            function()
        frames = traceback.extract_tb(caught.value.__traceback__)[1:]
        return [(frame.filename, frame.lineno, frame.name, frame.line) for frame in frames]

    notebook(cell)
    here = shown(notebook["f"])
    assert {file for file, *_ in here} == {"/tmp/ipykernel_4711/1.py"}
    assert all(line in cell for *_, line in here if line is not None)
    assert shown(way(notebook["f"])) == here


def test_a_function_of_the_users_own_module_keeps_its_file(
    project: Any, elsewhere: Elsewhere
) -> None:
    project(shop="def price(x):\n    return 1 / x\n")
    import shop  # type: ignore[import-not-found]

    def place(_: int) -> tuple[str, int]:
        return shop.price.__code__.co_filename, shop.price.__code__.co_firstlineno

    assert elsewhere.call(place, 0) == (shop.__file__, 1)


def test_what_one_code_object_is_here_is_one_elsewhere(
    notebook: Notebook, elsewhere: Elsewhere
) -> None:
    notebook("def f(x): return x\ncodes = [f.__code__, f.__code__]\nother = f")
    notebook("def same(_): return codes[0] is codes[1] is f.__code__ is other.__code__")
    assert elsewhere.call(notebook["same"], 0) is True


def test_code_may_hold_any_constant(notebook: Notebook, elsewhere: Elsewhere) -> None:
    # As tools make it that put live objects in place of names.
    notebook("class C:\n    n = 7\ndef f(x): return 'C'")
    code: CodeType = notebook["f"].__code__
    held = tuple(notebook["C"] if c == "C" else c for c in code.co_consts)
    notebook["f"].__code__ = code.replace(co_consts=held)
    notebook("def g(x): return f(x).n")
    assert elsewhere.call(notebook["g"], 0) == 7


def test_a_pickle_of_code_asks_for_nothing_of_ours(notebook: Notebook) -> None:
    notebook("def f(x):\n    return [lambda: x, {'a', 'b'}]")
    asked: set[str] = set()

    class Asking(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            asked.add(module)
            return super().find_class(module, name)

    for pickled in (capture(notebook["f"]).function, pickling.dumps(notebook["f"])):
        Asking(io.BytesIO(pickled)).load()
    assert asked <= {"builtins", "types", "cloudpickle.cloudpickle"}


# -- digests

CELLS = {
    "plain": "def f(x): return x + 1",
    "nested": "def f(x):\n    def g(y): return [y for _ in range(x)]\n    return g(x)",
    "class": "class C:\n    def m(self): self.a = self.b = self.c = 1\ndef f(x): return C().m()",
    "set of strings": "def f(x): return x in {'alpha', 'beta', 'gamma', 'delta'}",
    "set of tuples": "def f(x): return x in {('a', 1), ('b', 2), ('c', 3), None}",
    "set, nested": "def f(x): return (lambda y: y in {'alpha', 'beta', b'gamma', None, 3})(x)",
    "captured set": "S = {'alpha', 'beta', 'gamma', 'delta'}\ndef f(x): return x in S",
    "captured, frozen": "S = frozenset('abcdef')\ndef f(x): return x in S and S or {'x', 'y', 'z'}",
    "two of one set": "S = T = {'alpha', 'beta', 'gamma'}\ndef f(x): return S is T",
    "set and array": "import numpy\na, S = numpy.zeros(90_000), {'a', 'b', 'c'}\ndef f(x): return a[x], S",
}  # fmt: skip

DIGESTS = """
import sys
from cloudbutton_backend.capture import capture
from cloudbutton_backend.capture.content_digest import content_of
pid, cells = sys.argv[1], eval(sys.stdin.read())
for name, cell in cells.items():
    space = {"__name__": "__main__"}
    exec(compile(cell, f"/tmp/ipykernel_{pid}/{name}.py", "exec"), space)
    print(capture(space["f"]).digest, content_of(space["f"]).digest.hex(), name, sep="\\t")
"""


def _digests(pid: int, seed: int) -> list[str]:
    """Return the digests of all cells in a kernel of its own."""
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, str(pid)],
        input=repr(CELLS),
        env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout.splitlines()


def test_the_same_cell_has_the_same_digests_in_every_kernel() -> None:
    first = _digests(pid=999, seed=1)
    assert len({line.partition("\t")[0] for line in first}) == len(CELLS), "and each its own"
    assert [_digests(pid=23456, seed=seed) for seed in (2, 3)] == [first, first]


@pytest.mark.parametrize(
    ("cell", "other"),
    [
        ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'a', 'c'}"),
        ("S = {'a', 'b'}\ndef f(x): return S", "S = {'a', 'c'}\ndef f(x): return S"),
        ("S = {'a', 'b'}\ndef f(x): return S", "S = frozenset('ab')\ndef f(x): return S"),
        ("S = {'a', 'b'}\ndef f(x): return S", "S = ['a', 'b']\ndef f(x): return S"),
        ("S = {'1', 'b'}\ndef f(x): return S", "S = {1, 'b'}\ndef f(x): return S"),
    ],
)
def test_other_sets_have_other_digests(cell: str, other: str, notebook: Notebook) -> None:
    digests = []
    for text in (cell, other):
        notebook(text)
        digests.append(capture(notebook["f"]).digest)
    assert digests[0] != digests[1]


def test_a_set_elsewhere_has_the_order_of_here(notebook: Notebook, elsewhere: Elsewhere) -> None:
    # 0 and 8 meet in the same place of the table: which is first depends on which came first.
    notebook("def f(_): return list({8, 0, 16}), [v for v in {16, 8, 0}]")
    assert elsewhere.call(notebook["f"], 0) == notebook["f"](0)
