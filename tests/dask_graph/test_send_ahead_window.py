"""How far ahead tasks are sent: enough to keep workers busy, and no whole graph of large arrays."""

from __future__ import annotations

import pytest

from cloudbutton_ext.integrations.dask_graphs.scheduler import SendAheadWindow, tasks_ahead


@pytest.mark.parametrize(
    ("seconds", "nbytes", "tasks"),
    [
        (None, 0.0, 2),  # nothing is known yet
        (10.0, 0.0, 2),
        (0.01, 8.0, 10),
        (0.001, 8.0, 100),
        (0.0, 8.0, 256),
        (0.001, 16 << 20, 4),  # quick to make, and large
        (0.001, 1 << 30, 2),
    ],
)
def test_long_and_large_tasks_are_sent_two_at_a_time_and_short_ones_by_the_hundred(
    seconds: float | None, nbytes: float, tasks: int
) -> None:
    assert tasks_ahead(seconds, nbytes) == tasks


def test_a_window_is_a_number_of_workers_from_which_tasks_under_way_are_subtracted() -> None:
    window = SendAheadWindow(4)
    assert (int(window), window - 3) == (4, 5)
    window.learn(0.001, 8)
    assert window - 3 == 397
    assert repr(window) == "<SendAheadWindow: 400 tasks for 4 workers>"
