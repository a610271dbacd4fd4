"""The small picture of who ran when."""

from __future__ import annotations

import itertools
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.job_model.timeline import Interval, timeline_of
from cloudbutton_magic.display.rendering import summary_timeline, timeline_svg


def batch(
    worker: str,
    start: float,
    end: float,
    status: Literal["done", "error", "lost", "timeout", "cancelled"] = "done",
    failed: int = 0,
) -> BatchRecord:
    return BatchRecord("j", 0, worker, 0, 1, start, end, status, failed=failed)


def test_no_batches_make_no_picture() -> None:
    assert summary_timeline([]) is None


def test_each_worker_has_a_lane_from_the_first_start() -> None:
    records = [batch("b", 101, 103), batch("a", 100, 100.9), batch("a", 102.1, 102.9)]
    timeline = timeline_of(records, steps=3, lanes=5)
    assert timeline is not None
    assert timeline.lanes == (
        ("a", (Interval(0, 1, "done"), Interval(2, 3, "done"))),
        ("b", (Interval(1, 3, "done"),)),
    )
    assert (timeline.seconds, timeline.busy) == (3, (1, 1, 2))


def test_failures_and_losses_show() -> None:
    timeline = timeline_of(
        [batch("a", 0, 0.9, failed=1), batch("a", 1, 1.9, "lost"), batch("a", 2, 3, "timeout")],
        steps=3,
        lanes=1,
    )
    assert timeline is not None
    assert timeline.lanes[0][1] == (Interval(0, 1, "failed"), Interval(1, 3, "lost"))


def test_a_step_shows_the_worst_of_its_parts() -> None:
    records = [batch("a", 0, 1), batch("a", 1, 2, failed=1), batch("a", 2, 3)]
    timeline = timeline_of(records, steps=1, lanes=1)
    assert timeline is not None
    assert timeline.lanes == (("a", (Interval(0, 1, "failed"),)),)


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
    batches: list[BatchRecord], steps: int, lanes: int
) -> None:
    timeline = timeline_of(batches, steps=steps, lanes=lanes)
    assert timeline is not None
    assert len(timeline.lanes) <= lanes
    assert timeline.n_workers == len({each.worker for each in batches})
    for _, lane in timeline.lanes:
        assert 0 < len(lane) <= steps
        assert all(one.stop <= other.first for one, other in itertools.pairwise(lane))
    svg = timeline_svg(timeline)
    assert "nan" not in svg
    assert ">" not in svg.rpartition("<svg")[2].replace("/>", "").partition(">")[2].replace(
        "</svg>", ""
    ), "no text inside"
