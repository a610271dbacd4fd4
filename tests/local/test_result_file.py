"""Result files: what was written is read back, up to where the machine died."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.session.session import Session
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.result_file import SegmentWriter, TornRecord, read_records
from cloudbutton_backend.worker.wire import layout
from tests.support.result_files import records_in

KEY = b"a job's"


def write(path: Path, payloads: list[bytes]) -> list[int]:
    """Append a record for each payload; return where the file ended after each."""
    writer = SegmentWriter(str(path), KEY)
    ends = []
    for first, payload in enumerate(payloads):
        pieces, length = layout([payload])
        writer.append(first, first, 1, BatchMeta(seconds=0.5), pieces, length)
        ends.append(path.stat().st_size)
    writer.close()
    return ends


def firsts(path: Path) -> list[int]:
    return [record.first for record in read_records(str(path), KEY)]


def test_records_are_read_back_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, [b"one", b"x" * 100_000])
    records = list(read_records(str(path), KEY))
    assert [(r.first, r.count, r.meta) for r in records] == [
        (0, 1, BatchMeta(seconds=0.5)),
        (1, 1, BatchMeta(seconds=0.5)),
    ]
    record = records[1]
    assert path.read_bytes()[record.offset : record.offset + record.length].endswith(b"x" * 100_000)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(cut=st.integers(0, 700))
def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_record(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "b.seg"
    path.unlink(missing_ok=True)
    ends = write(path, [b"one", b"two" * 20, b"three"])
    kept = min(cut, ends[-1])
    path.write_bytes(path.read_bytes()[:kept])
    found = firsts(path)
    assert found == list(range(len(found)))
    assert len(found) >= sum(end <= kept for end in ends)


def test_damage_before_the_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.seg"
    write(path, [b"one" * 30, b"two" * 30])
    data = bytearray(path.read_bytes())
    data[data.index(b"oneone")] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TornRecord, match="damaged"):
        firsts(path)


def test_what_is_behind_a_damaged_record_can_still_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.seg"
    write(path, [b"one" * 30, b"two" * 30, b"three" * 30])
    data = bytearray(path.read_bytes())
    data[data.index(b"oneone")] ^= 0xFF
    path.write_bytes(data)
    damage: list[TornRecord] = []
    assert [record.first for record in read_records(str(path), KEY, damaged=damage.append)] == [
        1,
        2,
    ]
    assert [f"{path}: the record at byte 0 is damaged"] == [str(each) for each in damage]


def test_where_the_damage_hides_a_length_nothing_behind_is_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "d.seg"
    ends = write(path, [b"one" * 30, b"two" * 30, b"three" * 30])
    data = bytearray(path.read_bytes())
    data[ends[0] : ends[0] + 64] = bytes(64)
    path.write_bytes(data)
    damage: list[TornRecord] = []
    assert [record.first for record in read_records(str(path), KEY, damaged=damage.append)] == [0]
    assert [f"{path}: no record at byte {ends[0]}"] == [str(each) for each in damage]


def test_a_job_leaves_all_its_items_in_its_files(session: Session) -> None:
    job = session.map(lambda x: bytes(100_000) if x % 2 else x, range(20))
    job.results()
    folder = session.journal.home / "results"
    records = [r for path in folder.glob(f"{job.id}*.seg") for r in records_in(path)]
    indices = [index for r in records for index in range(r.first, r.first + r.count)]
    assert sorted(indices) == list(range(20))
