"""Results as earlier processes left them: which record counts, and what is not believed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudbutton_backend.durable.salvage import SalvagedItems, prefix_of, salvage
from cloudbutton_backend.job_model import BatchRecord
from cloudbutton_backend.results.result_ranges import ResultRange, ranges_of, uncovered
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.failures import PackedError
from cloudbutton_backend.worker.result_file import FileRecord, SegmentWriter
from cloudbutton_backend.worker.wire import layout


def write(path: Path, *records: tuple[int, int, list[Any]], **meta: Any) -> None:
    """Append records of (batch, first item, values)."""
    writer = SegmentWriter(str(path))
    for batch, first, values in records:
        pieces, length = layout([pickle.dumps(values, 5)])
        writer.append(batch, first, len(values), BatchMeta(**meta), pieces, length)
    writer.close()


def values_in(results: Path, *announced: BatchRecord, **how: Any) -> dict[int, Any]:
    found = salvage(results, "job", announced, **how)
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


def test_a_file_that_ends_in_the_middle_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "job.seg"
    write(path, (1, 0, ["a"]), (2, 1, ["b"]))
    path.write_bytes(path.read_bytes()[:-70])
    found = salvage(tmp_path, "job")
    assert (ranges_of(found.runs), found.trouble) == (((0, 1),), ())


def test_large_results_written_just_before_the_machine_went_down_are_doubted(
    tmp_path: Path,
) -> None:
    write(tmp_path / "job.seg", (1, 0, [bytes(100_000)]), started=90.0)
    write(tmp_path / "job.seg", (2, 1, [bytes(100_000)]), (3, 2, ["small"]), started=99.0)
    assert set(values_in(tmp_path, doubted_after=97.0)) == {0, 2}
    assert set(values_in(tmp_path)) == {0, 1, 2}


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
