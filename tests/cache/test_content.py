"""A digest is the same in every kernel, and another one wherever code or values are."""

from __future__ import annotations

import functools
import importlib
import pickle
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_backend.capture import capture
from cloudbutton_backend.capture.content_digest import Unkeyable, content_of

CELL = """
import dataclasses, enum, functools
import numpy as np

RATE = 0.5
WORDS = {"the", "of", "and", "to"}
TABLE = np.arange(6.0).reshape(2, 3)

class Model:
    power = 2
    def value(self, x):
        return RATE * x**self.power

@dataclasses.dataclass
class Point:
    x: int = 1

class Colour(enum.Enum):
    RED = 1

@functools.lru_cache
def known(word):
    return word in WORDS

def helper(x, by=3):
    return [y * by for y in range(x)]

def f(item, point=Point()):
    '''Documented.'''
    import math
    if item in (1, 2, "three"):
        return Colour.RED, point
    return Model().value(item), known("of"), helper(2), TABLE.sum(), math.pi
"""


def digest_of(cell: str, filename: str = "/tmp/ipykernel_1/1.py") -> str:
    """Return the digest of `f`, defined as a cell of a kernel defines it."""
    namespace = {"__name__": "__main__"}
    exec(compile(cell, filename, "exec"), namespace)
    return content_of(namespace["f"]).digest.hex()


def test_the_digest_of_a_function_is_the_same_in_another_process() -> None:
    program = (
        "import sys; from tests.cache.test_content import CELL, digest_of;"
        "print(digest_of(CELL, sys.argv[1]))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program, f"/tmp/ipykernel_{seed}/{seed}.py"],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] and len(found[0]) == 65


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nRATE", "\n# a comment\n\n\nRATE"),
        ('"the", "of", "and"', '"and", "of", "the"'),
        ("def helper(x, by=3):\n", "def helper(x, by=3):\n    # explains itself\n\n"),
        ("RATE = 0.5", "RATE = 0.5; UNUSED = 1"),
    ],
)
def test_what_changes_no_result_changes_no_digest(old: str, new: str) -> None:
    assert old in CELL
    assert digest_of(CELL.replace(old, new)) == digest_of(CELL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 0.5", "RATE = 0.25"),  # a global of a method
        ('"the", "of"', '"the", "on"'),  # an element of a set
        ("arange(6.0)", "arange(1, 7.0)"),  # a large value
        ("power = 2", "power = 3"),  # an attribute of a class
        ("x: int = 1", "x: int = 2"),  # a field's default
        ("RED = 1", "RED = 2"),
        ("y * by", "y + by"),  # an operator, in a nested scope
        ("by=3", "by=4"),  # a default
        ('(1, 2, "three")', '(1, 2, "four")'),  # a constant
        ("import math", "import cmath as math"),
        ("math.pi", "math.e"),
        ("word in WORDS", "word not in WORDS"),  # code in a cache
        ("range(x)", "range(0, x)"),
    ],
)
def test_what_could_change_a_result_changes_the_digest(old: str, new: str) -> None:
    assert old in CELL
    assert digest_of(CELL.replace(old, new)) != digest_of(CELL)


def test_modules_of_the_users_own_count_with_what_the_code_uses_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest(text: str) -> bytes:
        module = types.ModuleType("own_rates")
        module.__file__ = str(tmp_path / "own_rates.py")
        exec(compile(text, module.__file__, "exec"), vars(module))
        monkeypatch.setitem(sys.modules, "own_rates", module)
        namespace = {"__name__": "__main__", "own_rates": module}
        exec("def f(x):\n    return own_rates.rate(x)", namespace)
        return content_of(namespace["f"]).digest

    text = "BASE = 2\ndef rate(x):\n    return deep(x)\ndef deep(x):\n    return x * BASE\n"
    assert digest(text) == digest("# a comment\n\n" + text + "def unused(): pass\n")
    assert digest(text) != digest(text.replace("BASE = 2", "BASE = 3"))
    assert digest(text) != digest(text.replace("x * BASE", "x / BASE"))


@pytest.mark.parametrize(
    ("init", "body"),
    [
        ("", "from lazy import part; return part.g(x)"),
        ("def h(x):\n    from . import part\n    return part.g(x)", "return lazy.h(x)"),
        ("def h(x):\n    from .part import g\n    return g(x)", "return lazy.h(x)"),
    ],
)
def test_a_module_that_is_imported_only_when_the_code_runs_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, body: str
) -> None:
    def digest(version: int) -> bytes:
        package = tmp_path / str(version) / "lazy"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(init)
        (package / "part.py").write_text(f"def g(x): return x + {version}")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(package.parent))
            namespace: dict[str, Any] = {"__name__": "__main__"}
            exec(f"import lazy\ndef f(x):\n    {body}", namespace)
            found = content_of(namespace["f"]).digest
        for name in ("lazy", "lazy.part"):
            sys.modules.pop(name, None)
        return found

    assert digest(1) != digest(2)


def test_what_is_pickled_as_a_name_of_the_users_own_module_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("own_marks")
    text = "class Mark:\n    def __reduce__(self): return 'MISSING'\nMISSING = Mark()"
    exec(text, vars(module))
    monkeypatch.setitem(sys.modules, "own_marks", module)
    with pytest.raises(Unkeyable, match=r"`own_marks\.MISSING` is pickled as a name"):
        content_of([vars(module)["MISSING"]])


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("from numpy import sin as work", "numpy"),
        ("from numpy.random import default_rng as work", "numpy"),
        ("from scipy.special import gamma as work", "scipy"),
    ],
)
def test_compiled_functions_count_with_the_version_of_their_package(
    source: str, package: str
) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(f"{source}\ndef f(x): return work(x)", namespace)
    assert package in content_of(namespace["f"]).packages
    assert package in capture(namespace["f"]).imports


PLAIN: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=40)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=5)
    ),
    max_leaves=60,
)


def exact(value: Any) -> Any:
    """Return what tells a value from those that are only equal to it: types, signs, order."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [exact(each) for each in value])
    if isinstance(value, dict):
        return ("dict", [(exact(k), exact(v)) for k, v in value.items()])
    if isinstance(value, frozenset):
        return ("set", sorted(map(repr, map(exact, value))))
    return (type(value).__name__, repr(value))


@given(PLAIN, PLAIN)
@settings(max_examples=150, deadline=None)
def test_values_have_the_same_digest_just_when_nothing_tells_them_apart(
    one: Any, other: Any
) -> None:
    same = exact(one) == exact(other)
    if same:  # but for objects that are one in one value and two in the other
        one, other = pickle.loads(pickle.dumps(one)), pickle.loads(pickle.dumps(other))
    assert (content_of(one).digest == content_of(other).digest) == same


@given(PLAIN)
@settings(max_examples=100, deadline=None)
def test_a_copy_has_the_digest_of_its_original(value: Any) -> None:
    once = pickle.loads(pickle.dumps(value))
    assert content_of(pickle.loads(pickle.dumps(once))).digest == content_of(once).digest


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, "1", b"1", None, 0.0, -0.0, 1j),
        ([1, 2], (1, 2), [2, 1], {1: 2}, frozenset([1, 2]), {1, 2}),
        (["ab", "c"] * 20, ["a", "bc"] * 20, ("ab", "c") * 20, ["ab", "c"] * 21),
        ([1] * 40, [1.0] * 40, [True] * 40, [None] * 40, (1,) * 40),
        (np.zeros(4), np.zeros((2, 2)), np.zeros(4, "f4"), np.zeros(4, int), np.ones(4)),
        (np.zeros((2, 3)), np.zeros((2, 3), order="F"), np.float64(0), 0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_values_that_code_could_tell_apart_have_digests_of_their_own(values: Any) -> None:
    assert len({content_of(value).digest for value in values}) == len(values)


def test_whether_one_object_is_there_twice_counts_unless_it_is_text() -> None:
    inner, text = [1], "".join(["a", "bc"])
    assert content_of([inner, inner]).digest != content_of([inner, [1]]).digest
    assert content_of(["abc", text]).digest == content_of(["abc", "abc"]).digest


def test_instances_of_two_classes_alike_in_all_but_name_are_not_the_same() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class A:\n    x = 1\nclass B:\n    x = 1", namespace)
    assert content_of(namespace["A"]()).digest != content_of(namespace["B"]()).digest


def test_code_that_names_the_tasks_generator_is_known_by_whichever_name() -> None:
    import cloudbutton_ext as cloud
    from cloudbutton_ext import rng

    drawn = rng
    here = {"__name__": "__main__", "cloud": cloud, "drawn": drawn, "rng": lambda: 4}
    cells = {
        "cloud.rng().normal()": True,
        "drawn().normal()": True,
        "[drawn() for _ in range(3)]": True,
        "rng()": False,  # the user's own
        "cloud.jobs()": False,
    }
    for text, expected in cells.items():
        function = eval(f"lambda x: {text}", here)
        assert content_of(function).draws is expected, text
        assert content_of([functools.partial(function, 1)]).draws is expected, text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (threading.Lock(), "lock"),
        ((n for n in "ab"), "generator"),
        (sys._getframe(), "frame"),
        (lambda x: importlib.import_module("rates").of(x), "import any module"),
    ],
)
def test_what_cannot_be_told_is_said_to_be_so(value: Any, words: str) -> None:
    if isinstance(value, types.FunctionType):  # as if it were a notebook's
        value = types.FunctionType(value.__code__, {"importlib": importlib})
    with pytest.raises(Unkeyable, match=words):
        content_of([value])
