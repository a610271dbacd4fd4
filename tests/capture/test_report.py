"""The report says what travels, how large it is and how; for people and for the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudbutton_backend.capture import CaptureReport, capture, explain
from cloudbutton_backend.capture.report import size

CELL = """
import math
import numpy as np
X = np.zeros(100_000)
rate = 0.5
names = ['a', 'b']
def helper(x): return math.sqrt(x) * rate
def f(x): return helper(x) + X.sum() + len(names) + np.pi
"""


@pytest.fixture
def report(notebook: Any) -> CaptureReport:
    notebook(CELL)
    return explain(notebook["f"])


def test_every_name_with_the_way_it_travels(report: CaptureReport) -> None:
    how = {value.name: (value.type_name, value.travels) for value in report.values}
    assert how == {
        "helper": ("function", "code"),
        "X": ("ndarray", "blob"),
        "names": ("list", "call"),
        "np": ("module", "reference"),
        "math": ("module", "reference"),
        "rate": ("float", "call"),
    }


def test_mutable_values_are_marked(report: CaptureReport) -> None:
    assert report.mutable == ("X", "names")


@pytest.mark.parametrize(
    ("text", "mutable"),
    [
        ("1", False),
        ("(1, 'a')", False),
        ("([],)", True),
        ("frozenset({1})", False),
        ("np.float64(1)", False),
        ("np.broadcast_to(1, (3,))", False),
        ("Point(1)", False),
        ("Point([])", True),
        ("object()", True),
    ],
)
def test_what_counts_as_mutable(text: str, mutable: bool, notebook: Any) -> None:
    notebook(
        "import numpy as np\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Point:\n    x: object"
    )
    notebook(f"value = {text}\ndef f(): return value")
    assert capture(notebook["f"]).report.mutable == (("value",) if mutable else ())


def test_installed_packages_have_versions(report: CaptureReport) -> None:
    numpy = __import__("numpy").__version__
    assert report.packages == ("numpy",)
    assert report.distributions == (("numpy", numpy),)
    assert f"by reference: numpy {numpy}" in str(report)


def test_prints_as_an_aligned_table(report: CaptureReport) -> None:
    lines = str(report).splitlines()
    assert lines[0].startswith("f travels in ")
    assert lines[0].endswith("and 800 kB of large values are sent once.")
    table = lines[2 : 2 + 1 + len(report.values)]
    column = table[0].index("how it travels")
    assert all(line[column - 1] == " " != line[column] for line in table)


def test_goes_to_the_journal_as_json(report: CaptureReport) -> None:
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


def test_shows_the_values_of_the_time_of_capture(notebook: Any) -> None:
    notebook("x = [1] * 100\ndef f(): return x")
    captured = capture(notebook["f"])
    before = captured.report.values[0].nbytes
    captured = capture(notebook["f"])
    notebook("x.extend([2] * 1_000_000)")
    assert captured.report.values[0].nbytes == before


def test_imports_inside_functions_are_counted(notebook: Any) -> None:
    notebook("def f(x):\n    import pandas.api\n    import math\n    return x")
    assert explain(notebook["f"]).packages == ("pandas",)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (65_536, "66 kB"),
        (999_700, "1.0 MB"),
        (200_000_128, "200 MB"),
        (3_500_000_000, "3.5 GB"),
        (12 * 10**12, "12 TB"),
    ],
)
def test_sizes_read_well(nbytes: int, text: str) -> None:
    assert size(nbytes) == text


@pytest.mark.parametrize(
    ("cell", "displays"),
    [
        ("def f(x): return display(x)", False),  # the name that is always there is ours anyway
        ("from IPython.display import display\ndef f(x): return display(x)", True),
        ("import IPython.display as shown\ndef f(x): return shown.display(x)", True),
        ("def f(x):\n    from IPython.display import display\n    return display(x)", True),
        ("words = 'IPython is not meant'\ndef f(x): return words", False),
    ],
)
@pytest.mark.parametrize("threshold", [0, 1 << 20])
def test_whether_code_displays_by_ipython_is_told_by_what_it_uses(
    notebook: Any, cell: str, displays: bool, threshold: int
) -> None:
    notebook(cell)
    assert capture(notebook["f"], threshold=threshold).displays is displays
