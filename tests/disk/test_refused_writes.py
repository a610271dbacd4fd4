"""Results that the disk refuses: held in memory, said so, and written when there is room."""

from __future__ import annotations

import itertools
import pickle
import shutil
import time
from pathlib import Path

import pytest

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.results.result_file import ResultFile
from cloudbutton_backend.results.result_record import ResultRecord
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.result_file import read_records
from cloudbutton_backend.worker.wire import layout


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A result file in a folder in whose place there is a file (the disk refuses) until it is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results"
        self.folder.touch()
        self.path = self.folder / "abcd2345.seg"
        self.clock = Clock()
        self.changes: list[str | None] = []
        self.file = ResultFile(
            self.path,
            opened=lambda path: None,
            changed=lambda: self.changes.append(self.file.notice),
            key=b"",
            clock=self.clock,
        )

    def make_room(self) -> None:
        self.folder.unlink()
        self.folder.mkdir()

    def write(self, first: int, value: object = "x") -> ResultRecord:
        pieces, length = layout([pickle.dumps([value], 5)])
        payload = b"".join(bytes(piece) for piece in pieces)
        entry = ResultRecord(first, 1, BatchMeta(), payload, None, 0, length)
        self.file.write(7, entry)
        return entry

    def on_disk(self) -> list[int]:
        """Return the first items of the records in the file, in their order."""
        return [record.first for record in read_records(str(self.path), b"")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_disk_that_takes_everything_is_not_mentioned(bench: Bench) -> None:
    bench.make_room()
    entries = [bench.write(first, f"value {first}") for first in range(3)]
    bench.file.close()
    assert bench.on_disk() == [0, 1, 2]
    assert [entry.path for entry in entries] == [str(bench.path)] * 3
    assert bench.file.notice is None


def test_what_the_disk_refuses_stays_in_memory_and_the_notice_counts_it(bench: Bench) -> None:
    entries = [bench.write(first, "y" * 1_000) for first in range(3)]
    assert [entry.values() for entry in entries] == [["y" * 1_000]] * 3
    notice = bench.file.notice
    assert notice is not None
    assert "Not a directory" in notice
    assert "In memory only: those of 3 items (" in notice
    assert "`cloudbutton gc`" in notice
    assert str(bench.folder) not in notice


def test_new_results_bring_those_held_to_the_disk_once_there_is_room(bench: Bench) -> None:
    held = [bench.write(first) for first in range(3)]
    bench.make_room()
    bench.clock.now += 10
    bench.write(3)
    bench.file.close()
    assert sorted(bench.on_disk()) == [0, 1, 2, 3]
    assert [entry.path for entry in held] == [str(bench.path)] * 3
    assert [entry.values() for entry in held] == [["x"]] * 3
    assert bench.file.notice is not None
    assert "all are on it by now" in bench.file.notice


def test_a_disk_that_refuses_is_not_tried_with_every_result(bench: Bench) -> None:
    bench.write(0)
    bench.make_room()
    bench.write(1)  # too soon after the refusal
    assert not bench.path.exists()
    bench.clock.now += 1
    bench.write(2)
    assert sorted(bench.on_disk()) == [0, 1, 2]


def test_the_end_of_the_job_tries_once_more(bench: Bench) -> None:
    bench.write(0)
    bench.make_room()
    bench.file.close()
    assert bench.on_disk() == [0]


def test_what_is_held_when_the_job_ends_is_written_later(bench: Bench) -> None:
    bench.write(0)
    bench.file.close()
    assert not bench.file.try_again()
    bench.make_room()
    assert bench.file.try_again()
    assert bench.on_disk() == [0]
    (notice,) = bench.changes
    assert notice is not None and "all are on it by now" in notice


def test_a_value_that_leaves_memory_is_read_back_from_the_file(bench: Bench) -> None:
    bench.make_room()
    values = [bytes([number]) * 3_000_000 for number in range(3)]
    entries = [bench.write(first, value) for first, value in enumerate(values)]
    assert [entry.payload is None for entry in entries] == [False, True, True]
    assert [entry.values() for entry in entries] == [[value] for value in values]


def test_results_whose_file_was_removed_go_into_a_new_one(bench: Bench) -> None:
    bench.make_room()
    bench.write(0)
    shutil.rmtree(bench.folder)
    entry = bench.write(1, "still here")
    assert bench.on_disk() == [1]
    assert entry.values() == ["still here"]
    assert bench.file.notice is None


def test_without_a_file_everything_stays_in_memory_and_nothing_is_said() -> None:
    file = ResultFile(None, opened=lambda path: None, changed=lambda: None, key=b"")
    entry = ResultRecord(0, 1, BatchMeta(), b"payload", None, 0, 7)
    file.write(0, entry)
    file.close()
    assert (entry.payload, file.notice) == (b"payload", None)


def test_a_job_whose_home_is_removed_goes_on_and_its_later_results_are_on_disk(
    tmp_path: Path,
) -> None:
    home, gate = tmp_path / "home", tmp_path / "gate"
    session = Session(home)
    session.use("local", workers=1)

    def task(number: int) -> bytes:
        deadline = time.monotonic() + 30
        while number == 2 and not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        return bytes([number]) * (100_000 if number % 2 else 100)

    try:
        job = session.map(task, range(8))
        first = dict(itertools.islice(job.as_completed(), 2))
        key = results_key(home, job.id)
        shutil.rmtree(home)
        gate.touch()
        assert job.wait(30) and job.state is JobState.DONE
        assert first == {number: task(number) for number in range(2)}
        files = (home / "results").glob(f"{job.id}*.seg")
        records = [record for path in files for record in read_records(str(path), key)]
        found = {each.first + offset for each in records for offset in range(each.count)}
        assert found >= set(range(2, 8))
    finally:
        session.close()
