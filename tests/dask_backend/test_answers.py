"""What a call's answer means, where calls may run, and which versions differ: decisions without a cluster."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cloudbutton_backend.backends.dask.call_results import events_of_end, read_answer, returned
from cloudbutton_backend.backends.dask.cluster import WorkerInfo, placement
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.backends.package_versions import explain_mismatches, mismatches
from cloudbutton_backend.backends.protocol import (
    BatchCall,
    BatchEnded,
    Overdue,
    Revoked,
    WorkerDown,
)
from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.settings.forms import variable_names
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.call_end import CallEnd, CallReport, Culprit
from cloudbutton_backend.worker.child_process import ProcessDeath
from cloudbutton_backend.worker.result_file import TornRecord
from cloudbutton_backend.worker.sealed_records import BrokenSeal, sealed_record, sealed_report
from cloudbutton_backend.worker.wire import layout

KEY = bytes(32)
CALL = BatchCall(7, "job", "dask-1", 10, 3, [], 2.0)
GiB = 1 << 30


def answer(*records: BatchMeta | CallReport, batch: int = 7, key: bytes = KEY) -> bytes:
    pieces: list[Any] = []
    for record in records:
        if isinstance(record, CallReport):
            pieces += sealed_report(dataclasses.replace(record, batch=batch), 10, key)
        else:
            body, length = layout([b"values"])
            pieces += sealed_record(batch, 10, 3, record.packed(), body, length, key)
    return b"".join(bytes(piece) for piece in pieces)


def report(**changes: Any) -> CallReport:
    end = dataclasses.replace(CallEnd(ran=3), **changes)
    return CallReport(7, end, seconds=0.5, threads=4, memory=2048)


RESULTS = BatchMeta(seconds=0.1)


def test_an_answer_holds_results_and_how_the_call_ended() -> None:
    results, found = read_answer(CALL, answer(RESULTS, report()), KEY)
    assert [(each.worker, each.first, each.count) for each in results] == [("dask-1", 10, 3)]
    assert found == report()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (answer(report(), key=b"other" * 7), BrokenSeal),
        (answer(report(), batch=8), TornRecord),
        (answer(RESULTS), TornRecord),
        (answer(report())[:-40], TornRecord),
    ],
    ids=["sealed by others", "of another call", "without an end", "cut"],
)
def test_an_answer_that_is_not_this_calls_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_answer(CALL, data, KEY)


def culprit(item: int | None, reason: str) -> list[Culprit]:
    return [Culprit(item, reason, ProcessDeath(-9, 3 * GiB, ""))]


@pytest.mark.parametrize(
    ("ending", "kinds"),
    [
        (report(), [BatchEnded]),
        (report(why="failed", culprits=culprit(11, "died")), [WorkerDown]),
        (report(why="failed", culprits=culprit(11, "timeout")), [Overdue, WorkerDown]),
        (report(why="lease", too_long=[10]), [WorkerDown]),
    ],
)
def test_how_a_call_ended_is_told_to_the_dispatcher(ending: CallReport, kinds: list[type]) -> None:
    assert [type(event) for event in events_of_end(CALL, ending)] == kinds


def test_an_item_that_ran_out_of_memory_is_told_how_much_there_was() -> None:
    (down,) = events_of_end(CALL, report(why="failed", culprits=culprit(11, "memory")))
    assert isinstance(down, WorkerDown)
    assert (down.item, down.reason) == (11, "memory") and "2,048 MiB" in down.cause


def test_what_its_lease_cut_off_costs_no_attempt() -> None:
    assert events_of_end(CALL, report(why="lease", ran=1)) == [
        BatchEnded("dask-1", 7, 1, False, True)
    ]


def test_a_call_that_is_given_back_has_begun_nothing() -> None:
    assert returned(CALL) == [Revoked("dask-1", 7, 10, 13), BatchEnded("dask-1", 7, 0)]


def worker(name: str, gib: float, threads: int = 1, **resources: float) -> WorkerInfo:
    return WorkerInfo(name, threads, int(gib * GiB), resources)


@pytest.mark.parametrize(
    ("memory", "workers", "said"),
    [
        (None, [worker("a", 1)], {}),
        (4096, [], {}),
        (1024, [worker("a", 2), worker("b", 4)], {}),
        (3072, [worker("a", 2), worker("b", 4)], {"workers": ["b"]}),
        (3072, [worker("a", 8, threads=4), worker("b", 8, threads=2)], {"workers": ["b"]}),
        (3072, [worker("a", 2), worker("b", 0)], {"workers": ["b"]}),
        (
            1024,
            [worker("a", 8, MEMORY=8.0 * GiB), worker("b", 8)],
            {"resources": {"MEMORY": GiB}},
        ),
    ],
    ids=[
        "no wish",
        "no workers yet",
        "all fit",
        "one fits",
        "threads share",
        "no limit",
        "resource",
    ],
)
def test_calls_run_where_there_is_memory_for_them(
    memory: int | None, workers: list[WorkerInfo], said: dict[str, Any]
) -> None:
    assert placement(memory, workers) == said


@pytest.mark.parametrize("workers", [[worker("a", 2)], [worker("a", 64, MEMORY=2.0 * GiB)]])
def test_more_memory_than_any_worker_has_is_refused(workers: list[WorkerInfo]) -> None:
    with pytest.raises(UsageError, match=r"No Dask worker has 4,096 MiB: the largest has 2,048"):
        placement(4096, workers)


@pytest.mark.parametrize(
    ("ours", "theirs", "lines"),
    [
        ({"Python": "3.11.7"}, {"a": {"Python": "3.11.9"}}, []),
        ({"Python": "3.11.7"}, {"a": {"Python": "3.12.7"}}, ["Python: 3.11.7 here, 3.12.7 on a"]),
        ({"numpy": "2.0"}, {"a": {"numpy": "2.0"}, "b": {"numpy": "2.0"}}, []),
        (
            {"numpy": "2.0"},
            {"a": {"numpy": "1.9"}, "b": {"numpy": "1.9"}, "c": {}},
            ["numpy: 2.0 here, 1.9 on a and 1 more", "numpy: 2.0 here, not installed on c"],
        ),
    ],
)
def test_versions_that_differ_are_listed_with_both_sides(
    ours: dict[str, str], theirs: dict[str, dict[str, str]], lines: list[str]
) -> None:
    assert mismatches(ours, theirs) == lines


def test_a_long_list_of_versions_is_cut() -> None:
    said = explain_mismatches([f"package{n}: 1 here, 2 on a" for n in range(20)], "a", "Advice.")
    assert "package7" in said and "package8" not in said and "and 12 more" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": "10.0.0.5:8786"}, r"`address` is '10\.0\.0\.5:8786'.*tcp://"),
        ({"address": 8786}, "it must be text"),
        ({"workers": 0}, "between 1 and 10,000, not 0"),
        ({"workers": True}, "a whole number"),
        ({"worker_hour": -1.0}, "0 US dollars or more"),
        ({"keep_results": "yes"}, "true or false"),
        ({"tls_ca": "ca.pem"}, "needs `tls_ca`, `tls_cert` and `tls_key`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        DaskSettings(**settings)


def test_variables_are_names_with_commas_in_between() -> None:
    assert variable_names("HOME, LANG ,") == ("HOME", "LANG")
    with pytest.raises(UsageError, match="names with commas"):
        variable_names(3)
