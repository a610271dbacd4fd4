"""Large values travel as blobs: addressed by content, never copied, once each."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.capture import capture

LARGE = [
    "np.arange(100_000.0)",
    "np.asfortranarray(np.ones((300, 400)))",
    "np.arange(400_000)[::2]",
    "'é' * 70_000",
    "b'x' * 70_000",
    "bytearray(70_000)",
    "list(range(50_000))",
    "tuple('abc' for _ in range(50_000))",
    "{i: str(i) for i in range(50_000)}",
    "{i for i in range(50_000)}",
    "{'deep': [[list(range(60_000))]]}",
    "Model()",
    "Nested()",
    "[Model() for _ in range(2)]",
    "pd.DataFrame({'a': np.arange(50_000), 'b': ['x'] * 50_000})",
]
CLASSES = """
import numpy as np, pandas as pd
class Model:
    def __init__(self): self.weights = np.arange(20_000)
    def total(self): return int(self.weights.sum())
    def __eq__(self, other): return self.total() == other.total()
class Nested:
    def __init__(self): self.inner = {'rows': [list(range(40_000))]}
    def __eq__(self, other): return self.inner == other.inner
"""


@pytest.mark.parametrize("text", LARGE)
def test_large_values_become_blobs_and_arrive(text: str, notebook: Any, elsewhere: Any) -> None:
    notebook(f"{CLASSES}\nbig = {text}\ndef f(): return big")
    captured = capture(notebook["f"])
    assert len(captured.blobs) == 1
    assert len(captured.function) < 2_000
    assert captured.blobs[0].nbytes > 64 * 1024
    there, here = elsewhere.call(notebook["f"]), notebook["big"]
    assert type(there) is type(here)
    assert there.equals(here) if hasattr(here, "equals") else np.all(there == here)


@pytest.mark.parametrize(
    "cell",
    [
        "def f(): return X.size",
        "def f(x=X): return x.size",
        "def f(*, x=X): return x.size",
        "import functools\nf = functools.partial(lambda a: a.size, X)",
        "import functools\nf = functools.partial(lambda *, a: a.size, a=X)",
        "f = (lambda a: lambda: a.size)(X)",
        (
            "class A:\n    def __init__(self): self.x = X\n"
            "    def g(self): return self.x.size\nf = A().g"
        ),
        "class A:\n    table = X\ndef f(): return A.table.size",
        "class A:\n    def g(self): return X.size\ndef f(): return A().g()",
        "def g(): return X.size\ndef f(): return g()",
        "def f(): return f.table.size\nf.table = X",
        "from functools import cache\n@cache\ndef g(): return X.size\ndef f(): return g()",
    ],
)
def test_wherever_the_code_holds_them(cell: str, notebook: Any, elsewhere: Any) -> None:
    notebook("import numpy as np\nX = np.zeros(100_000)")
    notebook(cell)
    captured = capture(notebook["f"])
    assert len(captured.blobs) == 1
    assert len(captured.function) < 5_000
    assert elsewhere.call(notebook["f"]) == 100_000


def test_an_array_is_not_copied(notebook: Any) -> None:
    notebook("import numpy as np\nX = np.zeros(100_000)\ndef f(): return X")
    stream, buffer = capture(notebook["f"]).blobs[0].parts
    assert np.shares_memory(np.frombuffer(buffer), notebook["X"])
    assert memoryview(stream).nbytes < 500


def test_one_object_under_two_names_stays_one(notebook: Any, elsewhere: Any) -> None:
    notebook(
        "import numpy as np\nX = np.zeros(100_000)\nY = X\nbox = [X]\n"
        "def f(): return X is Y, box[0] is X"
    )
    assert len(capture(notebook["f"]).blobs) == 1
    assert elsewhere.call(notebook["f"]) == (True, True)


def test_equal_content_has_one_address(notebook: Any) -> None:
    notebook("import numpy as np\ndef f(): return X")
    digests = []
    for text in ("np.zeros(9_000)", "np.zeros(9_000)", "np.ones(9_000)", "np.zeros((90, 100))"):
        notebook(f"X = {text}")
        (blob,) = capture(notebook["f"]).blobs
        digests.append(blob.digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_value_changed_in_place_has_a_new_address(notebook: Any) -> None:
    notebook("X = list(range(50_000))\ndef f(): return X")
    before = capture(notebook["f"])
    notebook("X[7] = -1")
    after = capture(notebook["f"])
    assert before.blobs[0].digest != after.blobs[0].digest
    assert before.digest != after.digest


def test_many_small_values_stay_in_the_call(notebook: Any, elsewhere: Any) -> None:
    names = [f"v{i}" for i in range(40)]
    notebook("\n".join(f"{name} = 'x' * 4_000 + '{name}'" for name in names))
    notebook(f"def f(): return len({' + '.join(names)})")
    captured = capture(notebook["f"])
    assert captured.blobs == ()
    assert elsewhere.call(notebook["f"]) == notebook["f"]()


def test_threshold_is_the_callers(notebook: Any) -> None:
    notebook("X = b'x' * 1000\ndef f(): return X")
    assert capture(notebook["f"]).blobs == ()
    assert len(capture(notebook["f"], threshold=500).blobs) == 1


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=values, threshold=st.integers(0, 200))
def test_any_value_arrives_whatever_the_threshold(
    value: Any, threshold: int, notebook: Any, elsewhere: Any
) -> None:
    notebook("def f(): return value, also")
    notebook["value"] = notebook["also"] = value
    captured = capture(notebook["f"], threshold=threshold)
    assert elsewhere.run(captured, pickle.dumps(())) == (value, value)


def test_nothing_is_kept_alive_after_a_capture(notebook: Any) -> None:
    notebook(
        "import numpy as np\nX = np.zeros(100_000)\nsmall = np.zeros(10)\ndef f(): return X, small"
    )
    watched = [weakref.ref(notebook["X"]), weakref.ref(notebook["small"])]
    captured = capture(notebook["f"])
    gc.disable()  # reference counts alone must do
    try:
        del captured
        notebook("del X, small")
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()
