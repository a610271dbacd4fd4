"""Classes of every kind are in a worker what they are in the notebook, and come back the same."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.session.session import Session
from tests.button.compare import differences, run_twice
from tests.button.pool import Pool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Case:
    name: str
    setup: str
    value: str
    since: int = 10
    """The oldest Python 3 that has it."""
    fills_caches: bool = False
    """Whether the class here remembers what it was asked, of which a worker's tells nothing."""


CASES = [
    Case(**case)
    for case in tomllib.loads(Path(__file__).with_name("classes.toml").read_text())["case"]
]
CASES = [case for case in CASES if sys.version_info >= (3, case.since)]
each_kind = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run code as a cell of the notebook that this process is meanwhile."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    def run(source: str) -> dict[str, Any]:
        exec(compile(source, "cell", "exec", dont_inherit=True), main.__dict__)
        return main.__dict__

    return run


@each_kind
def test_a_class_is_there_what_it_is_here(
    case: Case, cell: Callable[[str], dict[str, Any]], session: Session
) -> None:
    names = cell(
        f"{case.setup}\ndef there(_): return repr({case.value})\ndef back(_): return {case.value}"
    )
    here = repr(names["back"](0))
    assert session.map(names["there"], [0]).results() == [here]
    assert [repr(value) for value in session.map(names["back"], [0]).results()] == [here]


@each_kind
def test_a_value_that_is_an_item_comes_back_as_it_was(
    case: Case, cell: Callable[[str], dict[str, Any]], session: Session
) -> None:
    names = cell(f"{case.setup}\nvalue = {case.value}\ndef same(value): return value")
    (back,) = session.map(names["same"], [names["value"]]).results()
    assert repr(back) == repr(names["value"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    pool = Pool(tmp_path_factory.mktemp("home"))
    yield pool
    pool.close()


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.fills_caches], ids=lambda case: case.name
)
def test_the_button_leaves_what_the_plain_cell_leaves(case: Case, pool: Pool) -> None:
    text = f"out = []\nfor i in range(3):\n    out.append((i, {case.value}))"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, sent = run_twice(case.setup, text, pool)
    assert differences(plain, sent) == []
