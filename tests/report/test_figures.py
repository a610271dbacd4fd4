"""Figures: nothing is lost by putting batches together, and trouble is never hidden."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.job_model.timeline import Timeline, timeline_of
from cloudbutton_backend.report.chart_data import STEPS, histogram, memory

from .conftest import NOON, batch

batches = st.lists(
    st.builds(
        lambda number, worker, start, length, count, status, peak: batch(
            number, worker=f"w-{worker}", start=NOON + start, end=NOON + start + length,
            count=count, status=status, memory_peak=peak,
        ),
        number=st.integers(0, 1000),
        worker=st.integers(0, 5),
        start=st.floats(0, 1000),
        length=st.floats(0, 100),
        count=st.integers(1, 500),
        status=st.sampled_from(["done", "error", "lost", "timeout", "cancelled"]),
        peak=st.integers(0, 10**10),
    ),
    min_size=1,
    max_size=60,
)  # fmt: skip


def timeline(found: list[BatchRecord]) -> Timeline | None:
    return timeline_of(found, steps=STEPS, lanes=40)


@settings(max_examples=200, deadline=None)
@given(found=batches)
def test_every_item_that_was_measured_is_in_one_bar(found: list[BatchRecord]) -> None:
    shown = histogram(found)
    measured = [b for b in found if b.end > b.start and b.status not in ("lost", "timeout")]
    if shown is None:
        assert measured == []
        return
    assert sum(shown.counts) == sum(each.count for each in measured)
    assert list(shown.edges) == sorted(shown.edges)
    assert shown.median <= shown.p95 <= shown.longest


@settings(max_examples=200, deadline=None)
@given(found=batches)
def test_a_worker_that_was_lost_is_seen_in_its_lane(found: list[BatchRecord]) -> None:
    shown = timeline(found)
    assert shown is not None
    assert shown.n_workers == len({each.worker for each in found})
    lanes = dict(shown.lanes)
    for worker, lane in lanes.items():
        own = [each for each in found if each.worker == worker]
        was_lost = any(each.status in ("lost", "timeout") for each in own)
        assert any(stretch.kind == "lost" for stretch in lane) == was_lost
        assert all(a.stop <= b.first for a, b in itertools.pairwise(lane))
        assert lane[0].first >= 0 and lane[-1].stop <= STEPS
    assert max(shown.busy) <= shown.n_workers


@settings(max_examples=100, deadline=None)
@given(found=batches)
def test_the_peak_is_the_largest_and_never_falls(found: list[BatchRecord]) -> None:
    shown = memory(found)
    peaks = [each.memory_peak for each in found if each.memory_peak]
    if shown is None:
        assert peaks == []
    else:
        assert shown.peak == max(peaks)
        assert list(shown.peaks) == sorted(shown.peaks)


def test_many_workers_are_counted_instead_of_drawn() -> None:
    found = [batch(number, worker=f"w-{number}") for number in range(100)]
    shown = timeline(found)
    assert shown is not None
    assert (shown.is_complete, shown.n_workers) == (False, 100)
    assert shown.busy[STEPS // 2] in (2, 3)
