from __future__ import annotations

import pytest

from cloudbutton_backend.journal.write_loop import BEAT, IDLE_POLL, POLL, WriteSchedule


def test_a_live_job_has_a_beat_every_two_seconds_and_a_look_every_fifth() -> None:
    schedule, beats, looks = WriteSchedule(), [], []
    now = start = 128.0
    schedule.beat_is_due(now, live=False)
    while now < start + 9.9:
        now += schedule.wait(now, live=True, listening=True) or 0.0
        if schedule.beat_is_due(now, live=True):
            beats.append(now - start)
        if schedule.poll_is_due(now, live=True):
            looks.append(now - start)
    assert beats == pytest.approx([2.0, 4.0, 6.0, 8.0])
    assert len(looks) == pytest.approx(50, abs=1)


@pytest.mark.parametrize(
    ("live", "listening", "expected"),
    [
        (False, False, None),
        (False, True, IDLE_POLL),
        (True, False, BEAT),
        (True, True, POLL),
    ],
)
def test_the_thread_sleeps_as_long_as_it_may(
    live: bool, listening: bool, expected: float | None
) -> None:
    schedule = WriteSchedule()
    schedule.beat_is_due(100.0, live=False)
    schedule.poll_is_due(100.0, live=live)
    assert schedule.wait(100.0, live=live, listening=listening) == (
        None if expected is None else pytest.approx(expected)
    )


def test_what_is_overdue_is_not_waited_for() -> None:
    schedule = WriteSchedule()
    assert schedule.wait(1e6, live=True, listening=True) == 0.0
