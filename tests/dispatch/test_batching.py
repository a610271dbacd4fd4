"""How many items go in one batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.cost import run_model
from cloudbutton_backend.cost.run_model import GROWTH, MAX_ITEMS
from cloudbutton_backend.dispatch.batching import BatchSizer
from cloudbutton_backend.worker import runner


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
    sizer = BatchSizer(0.02)
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
    sizer = BatchSizer(0.02)
    for items, seconds in learned:
        sizer.learn(items, seconds)
    assert 1 <= sizer.size(left, workers) <= MAX_ITEMS


@pytest.mark.parametrize(("seconds", "quick"), [(0.001, True), (0.0099, True), (0.01, False)])
def test_quick_items_are_those_of_less_than_half_a_batch(seconds: float, quick: bool) -> None:
    sizer = BatchSizer(0.02)
    sizer.learn(1, seconds)
    assert sizer.is_quick() is quick


@pytest.mark.parametrize(
    ("learned", "left", "workers", "size"),
    [
        pytest.param([], 1000, 10, 1, id="nothing is known: one item"),
        pytest.param([(1, 0.01)], 1000, 10, 100, id="an equal part for each worker"),
        pytest.param([(1, 1.0)], 1005, 10, 101, id="so that nothing is left over"),
        pytest.param([(1, 1.0)], 100_000, 10, 450, id="no longer than a call may run"),
        pytest.param([(1, 1.0)], 3, 10, 1, id="fewer items than workers"),
        pytest.param([(1, 0.0)], 10**9, 10, MAX_ITEMS, id="never more than this"),
    ],
)
def test_what_is_sent_at_once_is_sent_in_equal_parts(
    learned: list[tuple[int, float]], left: int, workers: int, size: int
) -> None:
    sizer = BatchSizer(1.5, at_once=450.0)
    for items, seconds in learned:
        sizer.learn(items, seconds)
    assert sizer.size(left, workers) == size


@given(
    left=st.integers(1, 10**6),
    workers=st.integers(1, 1000),
    seconds=st.floats(1e-6, 0.4),
    nbytes=st.integers(0, 1000),
)
def test_no_worker_gets_two_parts_of_what_is_sent_at_once(
    left: int, workers: int, seconds: float, nbytes: int
) -> None:
    sizer = BatchSizer(1.5, at_once=450.0)
    sizer.learn(1, seconds)
    sizer.weigh(1, nbytes)
    parts = 0
    while left > 0:
        left -= sizer.size(left, workers)
        parts += 1
        if parts > workers:
            part = sizer.size(left, workers)
            assert (
                part == MAX_ITEMS or (part + 1) * seconds > 450.0 or (part + 1) * nbytes > 64 << 20
            )
            return


def test_estimates_know_when_workers_send_what_has_finished() -> None:
    assert run_model.FLUSH_SECONDS == runner.FLUSH_SECONDS
