"""What cannot travel is refused before anything starts: the name, the way to it, what to do."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from cloudbutton_backend.capture import CannotTravel, NotPicklable, TooDeep, capture, dump_items
from cloudbutton_backend.errors import CaptureError


@dataclass(frozen=True)
class Case:
    name: str
    cell: str
    """Defines what `f` uses, and `f` unless it is `def f(): return x`."""
    path: str
    what: str
    advice: str
    close: str | None = None
    """Run in the end, for what warns when it is left open."""


CASES = [
    Case("lock", "import threading\nx = threading.Lock()", "x", "a lock", "inside the function"),
    Case("reentrant lock", "import threading\nx = threading.RLock()", "x", "a lock", "inside"),
    Case("event", "import threading\nx = threading.Event()", "x", "a lock", "inside"),
    Case("queue", "import queue\nx = queue.Queue()", "x", "a lock", "inside"),
    Case(
        "open file",
        "import os\nx = open(os.devnull)",
        "x",
        "an open file ('/dev/null')",
        "path",
        close="x.close()",
    ),
    Case(
        "binary file",
        "import os\nx = open(os.devnull, 'rb')",
        "x",
        "an open file",
        "path",
        close="x.close()",
    ),
    Case(
        "file in an attribute of an attribute",
        "import os\n"
        "class Callback:\n    def __init__(self): self.logfile = open(os.devnull, 'w')\n"
        "class Model:\n    def __init__(self): self.callback = Callback()\n"
        "model = Model()\ndef f(): return model",
        "model.callback.logfile",
        "an open file ('/dev/null')",
        "Keep its path",
        close="model.callback.logfile.close()",
    ),
    Case(
        "in containers",
        "import threading\nx = {'a': [1, (2, threading.Lock())]}",
        "x['a'][1][1]",
        "a lock",
        "inside the function",
    ),
    Case(
        "in slots",
        "import threading\nclass S:\n    __slots__ = ('a',)\nx = S()\nx.a = threading.Lock()",
        "x.a",
        "a lock",
        "",
    ),
    Case(
        "in a dataclass",
        (
            "import threading\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n"
            "    a: object\nx = D(threading.Lock())"
        ),
        "x.a",
        "a lock",
        "",
    ),
    Case(
        "in a partial",
        "import threading, functools\nx = functools.partial(print, end=threading.Lock())",
        "end (argument of x)",
        "a lock",
        "",
    ),
    Case(
        "in a default",
        "import threading\ndef f(lock=threading.Lock()): return lock",
        "lock (default of f)",
        "a lock",
        "",
    ),
    Case(
        "in a closure",
        (
            "import threading\ndef make():\n    guard = threading.Lock()\n"
            "    return lambda: guard\nf = make()"
        ),
        "guard",
        "a lock",
        "",
    ),
    Case(
        "in a helper",
        (
            "import threading\nguard = threading.Lock()\ndef helper(): return guard\n"
            "def f(): return helper()"
        ),
        "guard",
        "a lock",
        "",
    ),
    Case(
        "in a class attribute",
        "import threading\nclass A:\n    guard = threading.Lock()\ndef f(): return A()",
        "A.guard",
        "a lock",
        "",
    ),
    Case(
        "bound self",
        (
            "import threading\nclass A:\n"
            "    def __init__(self): self.guard = threading.Lock()\n"
            "    def g(self): ...\nf = A().g"
        ),
        "self of A.g.guard",
        "a lock",
        "",
    ),
    Case(
        "what its state holds, not what it leaves out",
        (
            "import threading\nclass A:\n"
            "    def __init__(self): self.a, self.b = threading.Lock(), [iter, (c for c in '')]\n"
            "    def __getstate__(self): return {'b': self.b}\nx = A()"
        ),
        "x.b[1]",
        "a generator",
        "",
    ),
    Case(
        "socket",
        "import socket\nx = socket.socket()",
        "x",
        "a network connection",
        "connect inside",
        close="x.close()",
    ),
    Case(
        "sqlite",
        "import sqlite3\nx = sqlite3.connect(':memory:')",
        "x",
        "a database connection (sqlite3.Connection)",
        "URL",
        close="x.close()",
    ),
    Case(
        "cursor",
        "import sqlite3\nx = sqlite3.connect(':memory:').cursor()",
        "x",
        "a database connection",
        "",
        close="x.connection.close()",
    ),
    Case("generator", "x = (i for i in range(3))", "x", "a generator", "rows = list(rows)"),
    Case("iterator", "x = iter([1, 2])", "x", "an iterator", "turn it into a list"),
    Case("counter", "import itertools\nx = itertools.count()", "x", "an iterator", ""),
    Case("zip", "x = zip([1], [2])", "x", "an iterator", ""),
    Case(
        "coroutine",
        "async def g(): ...\nx = g()",
        "x",
        "a coroutine",
        "`await` it first",
        close="x.close()",
    ),
    Case("thread", "import threading\nx = threading.Thread()", "x", "a thread", ""),
    Case("process", "import multiprocessing\nx = multiprocessing.Process()", "x", "a process", ""),
    Case(
        "executor",
        "from concurrent.futures import ThreadPoolExecutor\nx = ThreadPoolExecutor()",
        "x",
        "a pool or executor",
        "parallel already",
    ),
    Case(
        "future",
        "from concurrent.futures import Future\nx = Future()",
        "x",
        "a result that may not have arrived",
        ".result()",
    ),
    Case(
        "weak reference",
        "import weakref\nclass A: ...\na = A()\nx = weakref.ref(a)",
        "x",
        "a weak reference",
        "",
    ),
    Case("frame", "import sys\nx = sys._getframe()", "x", "a frame", ""),
    Case(
        "thread local",
        "import threading\nx = threading.local()",
        "x",
        "a context or thread-local",
        "",
    ),
    Case(
        "memory map",
        "import mmap\nx = mmap.mmap(-1, 10)",
        "x",
        "an open file",
        "",
        close="x.close()",
    ),
    Case(
        "the shell",
        (
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "x = InteractiveShell.__new__(InteractiveShell)"
        ),
        "x",
        "the notebook's own shell",
        "subprocess.run",
    ),
    Case(
        "widget",
        "import ipywidgets\nx = ipywidgets.IntSlider()",
        "x",
        "a widget",
        "n = slider.value",
    ),
    Case(
        "progress bar",
        "import tqdm\nx = tqdm.tqdm([], disable=True)",
        "x",
        "a progress bar",
        "live view",
    ),
    Case(
        "service client",
        "import boto3\nx = boto3.session.Session()",
        "x",
        "a client of a web service",
        "inside the function",
    ),
    Case(
        "tensor on a GPU",
        "class Tensor:\n    is_cuda = True\nTensor.__module__ = 'torch'\nx = [Tensor()]",
        "x[0]",
        "an object in the memory of this process's GPU",
        ".cpu()",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_by_name_with_advice(case: Case, notebook: Any) -> None:
    notebook(case.cell)
    if "f" not in notebook:
        notebook("def f(): return x")
    with pytest.raises(CannotTravel) as caught:
        capture(notebook["f"])
    error = caught.value
    assert error.path == case.path
    assert error.what.startswith(case.what)
    assert case.advice in error.advice
    assert str(error).startswith(f"`{case.path}` is {case.what}")
    assert case.close is None or notebook(case.close) is None


def test_a_large_container_is_searched_too(notebook: Any) -> None:
    notebook("import threading\nx = [0] * 100_000\nx[70_000] = threading.Lock()\ndef f(): return x")
    with pytest.raises(CannotTravel, match=r"x\[70000\]"):
        capture(notebook["f"])


def test_what_is_out_of_reach_of_the_search_is_named_by_its_container(notebook: Any) -> None:
    notebook("import threading\nx = [[] for _ in range(250_000)]\nx.append(threading.Lock())")
    notebook("def f(): return x")
    with pytest.raises(CannotTravel, match="`something inside x` is a lock"):
        capture(notebook["f"])


def test_a_cycle_does_not_stop_the_search(notebook: Any) -> None:
    notebook(
        "import threading\nx = {}\nx['self'] = x\nx['lock'] = threading.Lock()\ndef f(): return x"
    )
    with pytest.raises(CannotTravel, match=r"x\['lock'\]"):
        capture(notebook["f"])


def test_a_tensor_on_the_cpu_travels(notebook: Any) -> None:
    notebook("class Tensor:\n    is_cuda = False\nTensor.__module__ = 'torch'\nx = Tensor()")
    notebook("def f(): return x")
    assert capture(notebook["f"]).payload


def test_an_object_that_refuses_to_pickle_is_named_with_its_reason(notebook: Any) -> None:
    notebook(
        "class Bad:\n    def __reduce__(self): raise ValueError('not today')\n"
        "x = {'a': [Bad()]}\ndef f(): return x"
    )
    with pytest.raises(NotPicklable) as caught:
        capture(notebook["f"])
    assert caught.value.args == ("x['a'][0]", "Bad", "ValueError: not today")
    assert "not today" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_class_that_knows_how_to_travel_may_inherit_from_anything(
    notebook: Any, elsewhere: Any
) -> None:
    notebook(
        "import queue\n"
        "class Q(queue.Queue):\n    def __reduce__(self): return (Q, (self.maxsize,))\n"
        "x = Q(7)\ndef f(): return x.maxsize"
    )
    assert elsewhere.call(notebook["f"]) == 7


def test_objects_that_answer_questions_with_errors_are_named(notebook: Any) -> None:
    notebook(
        "class Odd:\n    def __getattr__(self, name):\n"
        "        raise (AttributeError if name[0] == '_' else RuntimeError)(name)\n"
        "    def __len__(self): raise RuntimeError\n"
        "x = Odd()\ndef f(): return x"
    )
    assert [value.name for value in capture(notebook["f"]).report.values] == ["x"]


def test_too_deep_a_structure_is_named(notebook: Any) -> None:
    notebook("tree = []\nfor _ in range(100_000): tree = [tree]\ndef f(): return tree")
    with pytest.raises(TooDeep, match=r"`tree` \(a list\) is nested too deeply"):
        capture(notebook["f"])
    tree = notebook.pop("tree")
    while tree:  # taken apart: freeing it in one go would recurse as well
        tree = tree.pop()


def test_items_are_refused_by_their_place(notebook: Any) -> None:
    notebook("items = [1, 2, (x for x in '')]")
    with pytest.raises(CannotTravel, match=r"`items\[2\]` is a generator"):
        dump_items(notebook["items"])


@pytest.mark.parametrize(
    "error",
    [CannotTravel("x.y", "a lock", "Do."), NotPicklable("x", "T", "no"), TooDeep("x", "T", 1000)],
)
def test_refusals_survive_pickling(error: CaptureError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_the_error_shows_no_inner_workings(notebook: Any) -> None:
    notebook("import threading\nx = threading.Lock()\ndef f(): return x")
    with pytest.raises(CannotTravel) as caught:
        capture(notebook["f"])
    assert caught.value.__suppress_context__


def test_nothing_is_imported_to_refuse() -> None:
    assert "torch" not in sys.modules
