"""Every cell of the corpus leaves the same behind, run plainly and with its loops sent away."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudbutton_magic.analysis import NotIndependent, Parallel
from tests.button.compare import Run, differences, run_twice
from tests.button.pool import Pool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One cell: what is there before, the cell, and what is to become of it."""

    style: str
    name: str
    cell: str
    expect: str
    """parallel: a loop goes elsewhere and comes back whole; refused: with the reason;
    stopped: sent, and taken back when a worker noticed what the text does not show."""
    setup: str = ""
    reason: str = ""
    line: int = 0
    why: str = ""
    could: bool = True
    """Whether its iterations are independent, whatever we make of it."""

    def __str__(self) -> str:
        return f"{self.style}: {self.name}"


def cases() -> list[Case]:
    found = []
    for path in sorted(HERE.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        shared = content.get("setup", "")
        for entry in content["case"]:
            entry.setdefault("could", entry["expect"] == "parallel")
            entry["setup"] = shared + entry.get("setup", "")
            found.append(Case(style=path.stem, **entry))
    return found


CASES = cases()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    pool = Pool(tmp_path_factory.mktemp("home"))
    yield pool
    pool.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cell_leaves_what_the_plain_cell_leaves(case: Case, pool: Pool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, sent = run_twice(case.setup, case.cell, pool)
    assert differences(plain, sent) == []
    assert outcome(sent) == case.expect, told(sent)
    if case.reason:
        refusals = refusals_of(sent)
        assert (case.reason, case.line) in [(r.reason.name, r.line) for r in refusals], told(sent)


def test_nine_in_ten_of_the_independent_cells_are_sent() -> None:
    could = [case for case in CASES if case.could]
    sent = [case for case in could if case.expect == "parallel"]
    assert len(CASES) >= 150
    assert len(sent) >= 0.9 * len(could)


def test_every_refusal_says_why_and_where() -> None:
    assert [str(c) for c in CASES if c.expect == "refused" and not (c.reason and c.line)] == []


def outcome(run: Run) -> str:
    if any(loop.items_elsewhere for loop in run.loops):
        return "parallel"
    if any(loop.stopped for loop in run.loops):
        return "parallel" if run.error is not None else "stopped"
    if any(isinstance(loop.verdict, Parallel) for loop in run.loops):
        return "parallel"
    return "refused"


def refusals_of(run: Run) -> list[NotIndependent]:
    found = [loop.verdict for loop in run.loops if isinstance(loop.verdict, NotIndependent)]
    return found + list(run.report.refused if run.report else ())


def told(run: Run) -> list[str]:
    return [f"{loop.stopped} {loop.verdict}" for loop in run.loops] + [
        str(r) for r in (run.report.refused if run.report else ())
    ]
