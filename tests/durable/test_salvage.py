"""Results as earlier processes left them: which record counts, and what is not believed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.durable.salvage import SalvagedItems, prefix_of, salvage
from cloudbutton_backend.errors import JobFailed
from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of, uncovered
from cloudbutton_backend.storage.sealed_files import results_key
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.failures import PackedError
from cloudbutton_backend.worker.result_file import FileRecord, SegmentWriter
from cloudbutton_backend.worker.wire import layout


def write(path: Path, *records: tuple[int, int, list[Any]], **meta: Any) -> None:
    """Append records of (batch, first item, values)."""
    writer = SegmentWriter(str(path), results_key(path.parent.parent, path.name.split(".")[0]))
    for batch, first, values in records:
        pieces, length = layout([pickle.dumps(values, 5)])
        writer.append(batch, first, len(values), BatchMeta(**meta), pieces, length)
    writer.close()


def values_in(results: Path, *announced: BatchRecord) -> dict[int, Any]:
    found = salvage(results, "job", announced)
    return {o.index: o.value for run in found.runs for o in run.outcomes(run.first)}


def batch(number: int, first: int) -> BatchRecord:
    return BatchRecord("job", number, "w", first, 1, 0.0, 0.0, "done")


def test_results_of_all_processes_are_found(tmp_path: Path) -> None:
    write(tmp_path / "job.seg", (1, 0, ["a"]))
    write(tmp_path / "job.local-1-77.seg", (2, 1, ["b", "c"]))
    write(tmp_path / "job.1.seg", (3, 3, ["d"]))
    write(tmp_path / "job.1.local-0-78.seg", (4, 4, ["e"]))
    write(tmp_path / "jobs.seg", (1, 9, ["another job's"]))
    assert values_in(tmp_path) == dict(enumerate("abcde"))
    found = salvage(tmp_path, "job")
    assert (found.generation, found.stop) == (1, 5)
    assert prefix_of(tmp_path, "job", 0).name == "job"
    assert prefix_of(tmp_path, "job", 2).name == "job.2"


def test_of_two_results_the_one_announced_first_counts(tmp_path: Path) -> None:
    write(tmp_path / "job.local-1-77.seg", (1, 0, ["first"]), (5, 1, ["second"]))
    write(tmp_path / "job.seg", (2, 0, ["later"]), (3, 1, ["sooner"]))
    assert values_in(tmp_path, batch(1, 0), batch(2, 0)) == {0: "first", 1: "sooner"}
    assert values_in(tmp_path) == {0: "later", 1: "sooner"}


def test_an_item_with_an_error_has_no_result_until_another_record_has_one(tmp_path: Path) -> None:
    write(tmp_path / "job.seg", (1, 0, ["a", None, "c"]), errors={1: {"kind": "exception"}})
    assert values_in(tmp_path) == {0: "a", 2: "c"}
    write(tmp_path / "job.seg", (2, 1, ["b"]))
    assert values_in(tmp_path) == dict(enumerate("abc"))


def test_a_damaged_record_costs_what_it_holds_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    write(path, (1, 0, ["a"]), (2, 1, ["b"]), (3, 2, ["c"]))
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle + 66] ^= 0xFF
    path.write_bytes(data)
    found = salvage(tmp_path, "job")
    assert ranges_of(found.runs) == ((0, 1), (2, 3))
    assert len(found.trouble) == 1 and "damaged" in found.trouble[0]


def write_with_buffers(path: Path) -> None:
    """Append two records whose values lie in their streams and in buffers behind these."""
    writer = SegmentWriter(str(path), results_key(path.parent.parent, "job"))
    for first, fill in ((0, b"a"), (3, b"b")):
        values = [first, pickle.PickleBuffer(bytearray(fill * 70)), fill.decode() * 30]
        buffers: list[pickle.PickleBuffer] = []
        stream = pickle.dumps(values, 5, buffer_callback=buffers.append)
        pieces, length = layout([stream, *buffers])
        writer.append(first, first, 3, BatchMeta(seconds=0.5), pieces, length)
    writer.close()


def test_whichever_byte_is_damaged_no_value_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    write_with_buffers(path)
    whole, expected = path.read_bytes(), values_in(tmp_path)
    assert len(expected) == 6
    noticed = 0
    for at in range(len(whole)):
        for mask in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[at] ^= mask
            path.write_bytes(data)
            found = salvage(tmp_path, "job")
            values = {o.index: o.value for run in found.runs for o in run.outcomes(run.first)}
            assert values.items() <= expected.items()
            if values != expected:
                noticed += 1
                assert found.trouble and str(path) in found.trouble[0]
    assert noticed > 3 * (64 + 70)


def test_damage_after_a_file_was_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    write_with_buffers(path)
    first, *_ = salvage(tmp_path, "job").runs
    data = bytearray(path.read_bytes())
    data[data.index(b"aaaa")] ^= 1
    path.write_bytes(data)
    with pytest.raises(JobFailed, match=r"items 0 to 2 is damaged: .*job\.seg"):
        list(first.outcomes())


def test_results_of_another_job_or_key_are_not_loaded(tmp_path: Path) -> None:
    write(tmp_path / "other.seg", (1, 0, ["another job's"]))
    (tmp_path / "other.seg").rename(tmp_path / "job.seg")
    found = salvage(tmp_path, "job")
    assert found.runs == () and "job.seg" in found.trouble[0]


def test_a_file_that_ends_in_the_middle_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    write(path, (1, 0, ["a"]), (2, 1, ["b"]))
    path.write_bytes(path.read_bytes()[:-70])
    found = salvage(tmp_path, "job")
    assert (ranges_of(found.runs), found.trouble) == (((0, 1),), ())


FAILED: PackedError = {"kind": "exception", "item": ""}

_records = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 6), st.sets(st.integers(0, 5))), max_size=12
)


@given(_records)
def test_whatever_the_records_each_item_counts_once_and_with_its_first_result(
    given_records: list[tuple[int, int, set[int]]],
) -> None:
    salvaged = SalvagedItems(0)
    expected: dict[int, int] = {}
    runs: list[tuple[int, ResultRange]] = []
    for number, (first, count, errors) in enumerate(given_records):
        wrong = {offset: FAILED for offset in errors if offset < count}
        record = FileRecord("", number, first, count, BatchMeta(errors=wrong), number, 0)
        runs += [(number, run) for run in salvaged.take(record)]
        for offset in range(count):
            if offset not in wrong:
                expected.setdefault(first + offset, number)
    taken = [(i, number) for number, run in runs for i in range(run.first, run.stop)]
    assert len(taken) == len(dict(taken))
    assert dict(taken) == expected


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=5),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=5),
)
def test_what_is_not_covered_is_exactly_the_rest(
    spans: list[tuple[int, int]], held: list[tuple[int, int]]
) -> None:
    def disjoint(pairs: list[tuple[int, int]]) -> list[ResultRange]:
        taken: set[int] = set()
        runs = []
        for first, count in pairs:
            if not taken & set(range(first, first + count)):
                taken |= set(range(first, first + count))
                runs.append(ResultRange(first, first + count, None))
        return runs

    def items(runs: list[ResultRange]) -> list[int]:
        return sorted(i for run in runs for i in range(run.first, run.stop))

    some, others = disjoint(spans), disjoint(held)
    left = items(uncovered(some, others))
    assert left == sorted(set(items(some)) - set(items(others)))
