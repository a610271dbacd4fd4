from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.journal import fsync
from cloudbutton_backend.journal.fsync import INTERVAL, DirtyFiles, FileSync

A, B = Path("a"), Path("b")


@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from([A, B])), max_size=60))
def test_each_file_is_synced_within_a_second_of_a_write_and_once_a_second(
    writes: list[tuple[float, Path]],
) -> None:
    dirty, now = DirtyFiles(), 0.0
    synced: dict[Path, list[float]] = {A: [], B: []}
    marked: list[tuple[float, Path]] = []
    for pause, path in [*writes, *[(0.25, None)] * 10]:
        end = now + pause
        while (rest := dirty.wait(now)) is not None and now + rest <= end:
            now += rest
            for each in dirty.pop_due(now):
                synced[each].append(now)
        now = end
        if path is not None:
            dirty.mark(path, now)
            marked.append((now, path))
    for when, path in marked:
        assert any(when <= time <= when + INTERVAL + 1e-9 for time in synced[path])
    for times in synced.values():
        assert all(b - a >= INTERVAL - 1e-9 for a, b in pairwise(times))


def test_the_end_of_a_job_does_not_wait_for_the_second() -> None:
    dirty = DirtyFiles()
    dirty.mark(A, 10.0)
    assert dirty.pop_due(10.0) == []
    assert dirty.pop_due(10.0, everything=True) == [A]
    assert dirty.wait(10.0) is None


def test_flush_returns_when_the_files_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []
    real = fsync.fsync
    monkeypatch.setattr(fsync, "fsync", lambda path: (real(path), done.append(path)))
    files = [tmp_path / name for name in ("one.seg", "two.seg")]
    complaints: list[str] = []
    syncer = FileSync(complaints.append)
    for path in files:
        path.write_bytes(b"result")
        syncer.mark(path)
    assert syncer.flush(10.0)
    assert sorted(done) == files
    assert syncer.close(10.0)
    assert complaints == []


def test_a_file_removed_in_the_meantime_is_no_trouble(tmp_path: Path) -> None:
    complaints: list[str] = []
    syncer = FileSync(complaints.append)
    syncer.mark(tmp_path / "gone.seg")
    assert syncer.close(10.0)
    assert complaints == []


def test_a_disk_that_refuses_is_reported(tmp_path: Path) -> None:
    complaints: list[str] = []
    syncer = FileSync(complaints.append)
    syncer.mark(tmp_path)  # a directory cannot be opened for writing
    assert syncer.close(10.0)
    assert str(tmp_path) in complaints[0]
