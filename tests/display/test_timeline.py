"""The small picture of who ran when."""

from __future__ import annotations

import itertools
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_magic.display.timeline import Span, timeline_of, timeline_svg


def batch(
    worker: str,
    start: float,
    end: float,
    status: Literal["done", "error", "lost", "timeout", "cancelled"] = "done",
    failed: int = 0,
) -> BatchRecord:
    return BatchRecord("j", 0, worker, 0, 1, start, end, status, failed=failed)


def test_no_batches_make_no_picture() -> None:
    assert timeline_of([]) is None


def test_each_worker_has_a_lane_from_the_first_start() -> None:
    timeline = timeline_of([batch("b", 101, 103), batch("a", 100, 101), batch("a", 101, 102)])
    assert timeline is not None
    assert timeline.lanes == (
        (Span(0, 1, "done"), Span(1, 2, "done")),
        (Span(1, 3, "done"),),
    )
    assert timeline.seconds == 3


def test_failures_and_losses_show() -> None:
    timeline = timeline_of(
        [batch("a", 0, 1, failed=1), batch("a", 1, 2, "lost"), batch("a", 2, 3, "timeout")]
    )
    assert timeline is not None
    assert [span.kind for span in timeline.lanes[0]] == ["failed", "lost", "lost"]


def test_the_smallest_gaps_are_closed_first() -> None:
    records = [batch("a", 0, 1), batch("a", 1.1, 2), batch("a", 5, 6), batch("a", 6.5, 7)]
    timeline = timeline_of(records, max_spans=2)
    assert timeline is not None
    assert timeline.lanes == ((Span(0, 2, "done"), Span(5, 7, "done")),)


def test_a_merged_span_shows_the_worst_of_its_parts() -> None:
    records = [batch("a", 0, 1), batch("a", 1, 2, failed=1), batch("a", 2, 3)]
    timeline = timeline_of(records, max_spans=1)
    assert timeline is not None
    assert timeline.lanes == ((Span(0, 3, "failed"),),)


BATCHES = st.lists(
    st.builds(
        lambda worker, start, length: batch(f"w{worker}", start, start + length),
        st.integers(0, 30),
        st.floats(0, 100),
        st.floats(0, 10),
    ),
    min_size=1,
    max_size=80,
)


@given(BATCHES, st.integers(1, 20), st.integers(1, 5))
def test_the_picture_is_bounded_and_covers_each_lane(
    batches: list[BatchRecord], max_spans: int, max_lanes: int
) -> None:
    timeline = timeline_of(batches, max_spans=max_spans, max_lanes=max_lanes)
    assert timeline is not None
    assert len(timeline.lanes) <= max_lanes
    assert sum(map(len, timeline.lanes)) <= max(max_spans, len(timeline.lanes))
    assert timeline.n_workers == len({each.worker for each in batches})
    for lane in timeline.lanes:
        assert all(one.start <= other.start for one, other in itertools.pairwise(lane))
    svg = timeline_svg(timeline)
    assert svg.count("<rect") == len(timeline.lanes) + sum(map(len, timeline.lanes))
    assert "nan" not in svg
    assert ">" not in svg.rpartition("<svg")[2].replace("/>", "").partition(">")[2].replace(
        "</svg>", ""
    ), "no text inside"
