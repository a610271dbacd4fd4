"""A few items run here: which ones, what they tell, and that nothing else happens."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.errors import CaptureError
from cloudbutton_backend.forecast.sampling import sample, spread
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.journal import JournalReader

OPTIONS = JobOptions()


@given(st.integers(0, 10_000), st.integers(1, 32))
def test_items_to_try_are_the_first_and_others_spread_over_all(total: int, most: int) -> None:
    chosen = spread(total, most)
    assert len(chosen) == len(set(chosen)) == min(total, most)
    assert all(0 <= index < total for index in chosen)
    if chosen:
        assert chosen[0] == 0
    if len(chosen) >= 4 and total % 4 == 0:
        assert {index * 4 // total for index in chosen[:4]} == {0, 1, 2, 3}


def test_what_items_take_is_measured() -> None:
    measured = sample(lambda x: time.sleep(0.02 if x < 100 else 0.06), range(200), OPTIONS)
    assert measured is not None
    assert measured.basis.startswith("16 of 200 items run here, ")
    assert len(measured.seconds) == 16
    assert min(measured.seconds) >= 0.019
    assert max(measured.seconds) >= 0.059
    assert measured.cpu_share < 0.9
    assert measured.memory_peak > 1 << 20


def test_work_is_told_from_waiting() -> None:
    def work(x: int) -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    measured = sample(work, range(8), OPTIONS)
    assert measured is not None
    assert measured.cpu_share > 0.8


def test_nothing_of_the_user_s_changes() -> None:
    seen: list[int] = []
    items = [[number] for number in range(10)]

    def note(item: list[int]) -> None:
        seen.append(item[0])
        item.append(-1)

    assert sample(note, items, OPTIONS) is not None
    assert seen == []
    assert items == [[number] for number in range(10)]


def test_it_runs_elsewhere_and_is_recorded_nowhere(tmp_path: Path) -> None:
    place = str(tmp_path / "pids")
    before = len(JournalReader().jobs(-1))

    def leave(x: int) -> None:
        with open(place, "a") as file:
            file.write(f"{os.getpid()}\n")

    assert sample(leave, range(4), OPTIONS) is not None
    pids = set(map(int, Path(place).read_text().split()))
    assert os.getpid() not in pids
    assert len(JournalReader().jobs(-1)) == before


def test_items_that_fail_are_counted_and_said() -> None:
    def half(x: int) -> None:
        if x % 2:
            raise ValueError(f"odd: {x}")

    measured = sample(half, range(10), OPTIONS)
    assert measured is not None
    assert len(measured.failures) == 5
    assert all(line.startswith("ValueError: odd") for line in measured.failures)


def test_items_that_take_too_long_tell_nothing_and_are_ended() -> None:
    began = time.monotonic()
    assert sample(lambda x: time.sleep(60), range(4), OPTIONS, within=1.0) is None
    assert time.monotonic() - began < 30


def test_an_item_that_ends_its_worker_does_not_end_the_sampling() -> None:
    measured = sample(lambda x: os._exit(3) if x == 0 else time.sleep(0.01), range(6), OPTIONS)
    assert measured is not None
    assert len(measured.seconds) == 5
    assert measured.failures


def test_what_cannot_travel_is_said_as_in_earnest() -> None:
    with open(os.devnull) as file, pytest.raises(CaptureError):
        sample(lambda x: file.read(), range(3), OPTIONS)
