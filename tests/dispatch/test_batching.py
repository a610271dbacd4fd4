"""How many items go in one batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.dispatch.batching import GROWTH, MAX_ITEMS, Sizer


@pytest.mark.parametrize(
    ("learned", "left", "workers", "size"),
    [
        pytest.param([], 1000, 2, 1, id="nothing is known: one item"),
        pytest.param([(1, 0.001)], 100_000, 2, GROWTH, id="growth is bounded at first"),
        pytest.param([(16, 0.016)], 100_000, 2, 20, id="as many as fill 20 ms"),
        pytest.param([(16, 0.016)], None, 2, 20, id="the number of items is not known"),
        pytest.param([(16, 0.016)], 40, 2, 10, id="towards the end a share of what is left"),
        pytest.param([(16, 0.016)], 3, 2, 1, id="the last ones one by one"),
        pytest.param([(1000, 0.001)], 100, 2, 1000, id="a millisecond of work is not split"),
        pytest.param([(1, 5.0)], 1000, 2, 1, id="long items go alone"),
        pytest.param([(1, 0.0)], 100_000, 2, GROWTH, id="too quick to be measured"),
        pytest.param([(50_000, 0.0)], 10**9, 2, MAX_ITEMS, id="never more than this"),
        pytest.param([(1, 9.0)] + [(1, 0.01)] * 9, 10**6, 2, 1, id="a slow first item…"),
        pytest.param([(1, 9.0)] + [(16, 0.0155)] * 40, 10**6, 2, 20, id="…is soon forgotten"),
    ],
)
def test_a_batch_has_this_many_items(
    learned: list[tuple[int, float]], left: int | None, workers: int, size: int
) -> None:
    sizer = Sizer(0.02)
    for items, seconds in learned:
        sizer.learn(items, seconds)
    assert sizer.size(left, workers) == size


@given(
    learned=st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1e4)), max_size=20),
    left=st.none() | st.integers(1, 10**9),
    workers=st.integers(0, 10_000),
)
def test_a_batch_is_never_empty_nor_boundless(
    learned: list[tuple[int, float]], left: int | None, workers: int
) -> None:
    sizer = Sizer(0.02)
    for items, seconds in learned:
        sizer.learn(items, seconds)
    assert 1 <= sizer.size(left, workers) <= MAX_ITEMS


@pytest.mark.parametrize(("seconds", "quick"), [(0.001, True), (0.0099, True), (0.01, False)])
def test_quick_items_are_those_of_less_than_half_a_batch(seconds: float, quick: bool) -> None:
    sizer = Sizer(0.02)
    sizer.learn(1, seconds)
    assert sizer.is_quick() is quick
