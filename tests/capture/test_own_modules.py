"""The user's own modules travel by value, with what the code uses of them, as it is now."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cloudpickle
import numpy
import pytest

from cloudbutton_backend.capture import capture, dump_items, explain, user_module


@dataclass(frozen=True)
class Case:
    name: str
    files: dict[str, str]
    cell: str
    """Defines `f`."""


#: Module names are of this test's own, and never on any other process's path.
CASES = [
    Case(
        "function of a module",
        {"cb_a": "RATE = 3\ndef scale(x): return x * RATE"},
        "from cb_a import scale\ndef f(x): return scale(x)",
    ),
    Case(
        "module by attribute",
        {"cb_b": "RATE = 3\ndef scale(x): return x * RATE\ndef unused(): return 1"},
        "import cb_b\ndef f(x): return cb_b.scale(x) + cb_b.RATE",
    ),
    Case(
        "module that imports its own",
        {"cb_c": "import cb_c2 as h\ndef g(x): return h.k * x", "cb_c2": "k = 7"},
        "import cb_c\ndef f(x): return cb_c.g(x)",
    ),
    Case(
        "modules that import each other",
        {
            "cb_d": "import cb_d2\ndef even(n): return n == 0 or cb_d2.odd(n - 1)",
            "cb_d2": "import cb_d\ndef odd(n): return n != 0 and cb_d.even(n - 1)",
        },
        "import cb_d\ndef f(x): return cb_d.even(x)",
    ),
    Case(
        "package with relative imports",
        {
            "cb_e__init": "from .core import run",
            "cb_e__core": "from . import tools\nfrom .tools import up\n"
            "def run(x): return up(x) + tools.BASE",
            "cb_e__tools": "BASE = 100\ndef up(x): return x + 1",
        },
        "import cb_e\ndef f(x): return cb_e.run(x), cb_e.core.run(x), cb_e.tools.BASE",
    ),
    Case(
        "namespace package",
        {"cb_f__part": "def g(x): return x + 5"},
        "import cb_f.part\nfrom cb_f import part\ndef f(x): return cb_f.part.g(x) + part.g(x)",
    ),
    Case(
        "import inside the function",
        {"cb_g": "def g(x): return x + 5"},
        "def f(x):\n    import cb_g\n    from cb_g import g\n    return cb_g.g(x) + g(x)",
    ),
    Case(
        "relative import inside a function",
        {
            "cb_h__init": "",
            "cb_h__one": "def g(x):\n    from .two import k\n    from . import two\n    return k * x",
            "cb_h__two": "k = 9",
        },
        "from cb_h.one import g\nimport cb_h.two\ndef f(x): return g(x)",
    ),
    Case(
        "modules inside a package that nobody has imported yet",
        {
            "cb_q__init": "def g(x):\n    from . import two\n    from .three import k\n"
            "    return two.k + k * x",
            "cb_q__one": "k = 1",
            "cb_q__two": "k = 2",
            "cb_q__three": "k = 3",
        },
        "def f(x):\n    from cb_q import g, one\n    return g(x) + one.k",
    ),
    Case(
        "relative import of what has the name of a module elsewhere",
        {
            "cb_r__init": "def g(x):\n    from .cb_s import k\n    return k * x",
            "cb_r__cb_s": "k = 7",
            "cb_s": "k = 8",
        },
        "import cb_r, cb_s\ndef f(x): return cb_r.g(x) + cb_s.k",
    ),
    Case(
        "class of a module",
        {"cb_i": "import math\nclass A:\n    def g(self, x): return math.floor(x) + K\nK = 2"},
        "import cb_i\na = cb_i.A()\ndef f(x): return a.g(x), isinstance(a, cb_i.A)",
    ),
    Case(
        "state of a module is one, seen from all sides",
        {"cb_j": "n = 0\ndef bump():\n    global n\n    n += 1\n    return n"},
        "import cb_j\ndef f(x): return cb_j.bump() - cb_j.n",
    ),
    Case(
        "cached function of a module",
        {"cb_k": "from functools import lru_cache\n@lru_cache\ndef g(x): return x + 1"},
        "from cb_k import g\nimport cb_k\ndef f(x): return g(x), cb_k.g is g",
    ),
    Case(
        "names that turn up late",
        {
            "cb_l": "import cb_l2\ndef g(x): return cb_l2.A().go(x)\ndef late(x): return x + 40",
            "cb_l2": "import cb_l\nclass A:\n    def go(self, x): return cb_l.late(x)",
        },
        "import cb_l\ndef f(x): return cb_l.g(x)",
    ),
    Case(
        "instances inside data",
        {"cb_m": "import cb_m2\nclass A:\n    def g(self): return cb_m2.k", "cb_m2": "k = 3"},
        "from cb_m import A\nthings = {'a': [A()]}\ndel A\ndef f(x): return things['a'][0].g()",
    ),
    Case(
        "decorator of a module",
        {
            "cb_n": "import functools\nN = 2\ndef times(f):\n    @functools.wraps(f)\n"
            "    def run(x): return f(x) * N\n    return run"
        },
        "from cb_n import times\n@times\ndef f(x): return x + 1",
    ),
    Case(
        "lazy attribute",
        {"cb_o": "def __getattr__(name): return name.upper()"},
        "import cb_o\ndef f(x): return cb_o.hello",
    ),
    Case(
        "dataclass, enum and exception of a module",
        {
            "cb_p": "import dataclasses, enum\n"
            "@dataclasses.dataclass\nclass D:\n    x: int = 1\n"
            "class E(enum.Enum):\n    A = 'a'\n"
            "class Bad(Exception): pass\n"
            "def g():\n    raise Bad('x')\n"
        },
        "import cb_p\ndef f(x):\n    try:\n        cb_p.g()\n    except cb_p.Bad as e:\n"
        "        return cb_p.D(x).x, cb_p.E('a').value, str(e)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_runs_where_the_module_cannot_be_imported(
    case: Case, project: Any, notebook: Any, elsewhere: Any
) -> None:
    project(**case.files)
    notebook(case.cell)
    there = elsewhere.call(notebook["f"], 4)
    assert there == notebook["f"](4)


def test_nothing_is_registered_with_cloudpickle(project: Any, notebook: Any) -> None:
    project(cb_reg="def g(x): return x")
    notebook("import cb_reg\ndef f(x): return cb_reg.g(x)")
    before = cloudpickle.list_registry_pickle_by_value()
    capture(notebook["f"])
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_only_named_attributes_of_a_module_travel(project: Any, notebook: Any) -> None:
    project(cb_only="token = 'hunter2'\nlock = __import__('threading').Lock()\ndef g(x): return x")
    notebook("import cb_only\ndef f(x): return cb_only.g(x)")
    assert b"hunter2" not in capture(notebook["f"]).function


def test_an_edited_and_reloaded_module_is_honoured(
    project: Any, notebook: Any, elsewhere: Any
) -> None:
    project(cb_edit="def g(x): return 'old'")
    notebook("import cb_edit\nfrom cb_edit import g\ndef f(x): return cb_edit.g(x), g(x)")
    assert elsewhere.call(notebook["f"], 1) == ("old", "old")
    project(cb_edit="def g(x): return 'new'")
    importlib.invalidate_caches()
    importlib.reload(sys.modules["cb_edit"])
    # As here: the name imported from it is still the old function.
    assert elsewhere.call(notebook["f"], 1) == notebook["f"](1) == ("new", "old")


def test_a_value_set_on_a_module_is_honoured(project: Any, notebook: Any, elsewhere: Any) -> None:
    project(cb_set="K = 1\ndef g(): return K")
    notebook("import cb_set\ndef f(): return cb_set.g(), cb_set.K")
    capture(notebook["f"])
    notebook("cb_set.K = 8")
    assert elsewhere.call(notebook["f"]) == (8, 8)


def test_an_instance_of_a_module_class_returns_as_one(
    project: Any, notebook: Any, elsewhere: Any
) -> None:
    project(cb_back="class A:\n    def __init__(self, x): self.x = x")
    notebook("import cb_back\ndef f(x): return cb_back.A(x)")
    returned = elsewhere.call(notebook["f"], 5)
    assert type(returned) is sys.modules["cb_back"].A
    assert returned.x == 5


def test_items_of_a_module_class_travel(project: Any, notebook: Any, elsewhere: Any) -> None:
    project(
        cb_items=(
            "K = 2\nclass A:\n    def __init__(self, x): self.x = x\n"
            "    def g(self): return self.x * K"
        )
    )
    notebook(
        "import cb_items\nitems = [cb_items.A(i) for i in range(3)]\n"
        "def f(*a): return [x.g() for x in a]"
    )
    for items in (notebook["items"], [0, *notebook["items"]][1:]):
        assert elsewhere.run(capture(notebook["f"]), *dump_items(items)) == [0, 2, 4]
    notebook("def g(pairs, *_): return pairs[1].g()")
    mixed = [(1, notebook["items"][2]), 5]  # the class turns up inside a builtin
    assert elsewhere.run(capture(notebook["g"]), *dump_items(mixed)) == 4


def test_a_large_value_of_a_module_is_a_blob(project: Any, notebook: Any, elsewhere: Any) -> None:
    project(cb_big="class A: pass\ntable = list(range(50_000))\ndef g(i): return table[i]")
    notebook(
        "import cb_big\nmine = [cb_big.A() for _ in range(40_000)]\n"
        "def f(i): return cb_big.g(i), cb_big.table[i], type(mine[0]) is cb_big.A"
    )
    captured = capture(notebook["f"])
    assert len(captured.blobs) == 2
    assert len(captured.function) < 5_000
    assert elsewhere.call(notebook["f"], 7) == (7, 7, True)


def test_report_names_the_modules(project: Any, notebook: Any) -> None:
    project(cb_rep="import cb_rep2\ndef g(x): return cb_rep2.k", cb_rep2="k = 1")
    notebook("import cb_rep\ndef f(x): return cb_rep.g(x)")
    report = explain(notebook["f"])
    assert report.user_modules == ("cb_rep", "cb_rep2")
    assert "cb_rep2.k" in [value.name for value in report.values]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("__main__", True),
        ("math", False),
        ("sys", False),
        ("json.decoder", False),
        ("importlib._bootstrap", False),
        ("numpy", False),
        ("numpy.linalg", False),
        ("cloudpickle", False),
        ("cloudbutton_backend.capture", False),
    ],
)
def test_installed_modules_are_not_the_users(module: str, expected: bool) -> None:
    assert user_module(importlib.import_module(module)) is expected


def test_modules_of_the_project_are_the_users(project: Any) -> None:
    project(cb_one="", cb_pack__init="", cb_pack__sub="", cb_space__sub="")
    for name in ("cb_one", "cb_pack", "cb_pack.sub", "cb_space.sub", "cb_space"):
        assert user_module(importlib.import_module(name)), name
    assert user_module(ModuleType("made_by_hand"))
    assert not user_module(numpy)
