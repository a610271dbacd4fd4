from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.accounting.spending import Accuracy, accuracy
from cloudbutton_backend.job_model import Expectation

ABOUT_TEN = Expectation(10.0, 8.0, 12.5)

CASES: dict[str, tuple[list[float], Accuracy | None]] = {
    "nothing to judge by": ([], None),
    "what was free": ([0.0], None),
    "exact": ([10.0], Accuracy(1, 0.0, 1.0)),
    "too low by a fifth, and held": ([12.5], Accuracy(1, 0.2, 1.0)),
    "too high by a quarter, and held": ([8.0], Accuracy(1, 0.25, 1.0)),
    "one of them far off": ([10.0, 10.0, 100.0], Accuracy(3, 0.0, 2 / 3)),
    "beside what was free": ([0.0, 20.0], Accuracy(1, 0.5, 0.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_estimates_are_judged_by_the_median_error_and_the_share_that_held(case: str) -> None:
    came, expected = CASES[case]
    assert accuracy((ABOUT_TEN, each) for each in came) == expected


AMOUNTS = st.floats(1e-6, 1e6)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1), st.floats(0.001, 1000))
def test_it_does_not_matter_in_which_unit_they_are(
    pairs: list[tuple[float, float]], unit: float
) -> None:
    def judged(by: float) -> Accuracy | None:
        return accuracy(
            (Expectation(by * expected, by * expected / 3, by * expected * 3), by * came)
            for expected, came in pairs
        )

    one, other = judged(1.0), judged(unit)
    assert one is not None
    assert other is not None
    assert one.jobs == other.jobs
    assert one.median_error == pytest.approx(other.median_error, rel=1e-6, abs=1e-6)
