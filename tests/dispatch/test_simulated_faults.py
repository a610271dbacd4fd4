"""The dispatcher under scripted and random faults: nothing is lost or doubled, and it always ends.

The simulator checks every promise (see `tests.support.invariants`): results and failures of an item
 count once, caps and depths hold, an ended job has all that it must have and holds no worker.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.backends.protocol import Limits, Results
from cloudbutton_backend.dispatch.actions import Accept, FailItem, Finish, Submit
from cloudbutton_backend.worker.batch_meta import BatchMeta
from tests.support.invariants import BrokenPromise, InvariantChecker
from tests.support.scripted_faults import (
    Crash,
    Crashes,
    DoubledResults,
    Fault,
    Hang,
    LateResults,
    LostResults,
    Raises,
    Slow,
    Stragglers,
    Stubborn,
    Throttled,
    Unreadable,
)
from tests.support.simulator import Trace, simulate
from tests.support.worker_startup import Startup
from tests.support.workload import Work, heavy_tail, log_normal, uniform

# -- one fault at a time


@pytest.mark.parametrize(
    ("faults", "failed"),
    [
        pytest.param([], {}, id="nothing goes wrong"),
        pytest.param([Crash(7, times=2)], {}, id="a worker dies twice"),
        pytest.param([Crash(7)], {7: "lost"}, id="a poison item"),
        pytest.param([Crash(7, known="batch")], {7: "lost"}, id="a poison item in a known batch"),
        pytest.param([Crash(7, known="nothing")], {7: "lost"}, id="a poison item nobody saw"),
        pytest.param([Crash(7), Crash(8)], {7: "lost", 8: "lost"}, id="poison side by side"),
        pytest.param([Hang(7)], {}, id="a worker hangs once"),
        pytest.param([Raises(7)], {7: "exception"}, id="the user's exception"),
        pytest.param([Unreadable(7)], {}, id="an item that was unreadable once"),
        pytest.param([Unreadable(7, times=None)], {7: "lost"}, id="an unreadable item"),
        pytest.param([Crashes(0.01)], {}, id="workers die at random"),
        pytest.param([LostResults(0.1)], {}, id="messages get lost"),
        pytest.param([DoubledResults(0.5)], {}, id="messages come twice"),
        pytest.param([LateResults(0.05)], {}, id="messages come late"),
        pytest.param([Slow(7, 1000)], {}, id="a straggler"),
        pytest.param([Stragglers(0.02, 100)], {}, id="stragglers at random"),
        pytest.param([Throttled(0.2, 0.5)], {}, id="calls are throttled"),
    ],
)
def test_a_fault_costs_no_item_but_the_guilty(faults: list[Fault], failed: dict[int, str]) -> None:
    work = Work(seconds=uniform(500, 0.002), stop_on_error=False)
    job = simulate([work], workers=4, faults=faults).jobs["job"]
    assert job.failed == failed
    assert job.accepted.count(1) == 500 - len(failed)


def test_a_lost_item_is_run_no_more_than_three_times() -> None:
    job = simulate([Work(seconds=uniform(50, 0.01))], workers=2, faults=[Crash(7)]).jobs["job"]
    assert (job.runs[7], job.attempts[7]) == (3, 3)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_an_exception_is_run_again_as_often_as_asked(retries: int) -> None:
    work = Work(seconds=uniform(50, 0.01), retries=retries, stop_on_error=False)
    job = simulate([work], faults=[Raises(7)]).jobs["job"]
    assert (job.runs[7], job.failed) == (retries + 1, {7: "exception"})


def test_time_outs_end_an_item_that_hangs() -> None:
    work = Work(seconds=uniform(50, 0.01), timeout=0.5, stop_on_error=False)
    trace = simulate([work], faults=[Hang(7, seconds=60.0, times=None)])
    assert trace.jobs["job"].failed == {7: "timeout"}
    assert trace.makespan < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_the_error_that_surfaces_is_the_one_a_loop_would_raise(seed: int) -> None:
    faults = [Raises(30), Raises(31), Crash(33), Raises(60), Raises(90)]
    work = Work(seconds=log_normal(100, 0.005, 1.5, seed))
    job = simulate([work], workers=8, faults=faults, seed=seed).jobs["job"]
    assert min(job.failed) == 30
    assert job.accepted[:30] == bytes([1]) * 30


def test_an_error_stops_what_comes_after_it() -> None:
    work = Work(seconds=uniform(10_000, 0.01))
    job = simulate([work], workers=4, faults=[Raises(100)]).jobs["job"]
    assert sum(job.runs) < 200


@pytest.mark.parametrize("cancel", [0.0, 0.001, 0.0123, 0.5])
def test_a_cancelled_job_stops_soon_and_completes_when_retried(cancel: float) -> None:
    work = Work(seconds=uniform(400, 0.01), cancel=cancel, retry=1.0)
    trace = simulate([work], workers=4)
    assert trace.jobs["job"].ends == ("stopped", "finish")
    assert trace.makespan < 1.0 + 1.0 + 0.1


def test_a_stubborn_item_holds_a_cancelled_job_up_only_so_long() -> None:
    work = Work(seconds=uniform(1, 3600.0), cancel=1.0)
    assert simulate([work], faults=[Stubborn(0)]).makespan < 1.5


def test_of_items_with_results_none_is_begun() -> None:
    work = Work(seconds=uniform(100, 0.01), done=((10, 40), (90, 95)))
    job = simulate([work], workers=4, faults=[Crash(50, times=1)]).jobs["job"]
    assert job.ends == ("finish",)
    assert [n for n, runs in enumerate(job.runs) if not runs] == [*range(10, 40), *range(90, 95)]


def test_workers_may_come_late_and_one_by_one() -> None:
    trace = simulate(
        [Work(seconds=uniform(200, 0.1))],
        workers=10,
        startup=Startup(seconds=1.0, spread=0.5, per_second=5.0),
    )
    assert trace.jobs["job"].ends == ("finish",)
    assert trace.most_workers == 10


def test_a_stream_keeps_up_with_its_source() -> None:
    work = Work(seconds=uniform(200, 0.01), chunk=4, pause=0.05)
    trace = simulate([work], workers=4)
    assert trace.makespan < 49 * 0.05 + 0.05


def test_a_referee_objects_to_a_result_that_counts_twice() -> None:
    invariant_checker = InvariantChecker((Work(seconds=[1.0]),), Limits(workers=1))
    accept = Accept("job", Results("w", 1, 0, 1, BatchMeta(), None, None, 0, 0))
    invariant_checker.see(accept)
    with pytest.raises(BrokenPromise, match="item 0 ends once"):
        invariant_checker.see(accept)


@pytest.mark.parametrize(
    "action",
    [Submit("nobody", 1, "job", 0, 1), Finish("job", "finish"), Finish("job", "stopped")],
    ids=lambda action: f"{type(action).__name__}",
)
def test_a_referee_objects_to_what_must_not_be(action: Any) -> None:
    with pytest.raises(BrokenPromise):
        InvariantChecker((Work(seconds=[1.0]),), Limits(workers=1)).see(action)


def test_a_referee_objects_to_too_many_attempts() -> None:
    invariant_checker = InvariantChecker((Work(seconds=[1.0]),), Limits(workers=1))
    with pytest.raises(BrokenPromise, match="at most 3 attempts"):
        invariant_checker.see(FailItem("job", 0, "lost", "gone", 4))


# -- how well it shares


@pytest.mark.parametrize("workers", [1, 2, 7, 100])
@pytest.mark.parametrize(
    ("seconds", "slowdown"),
    [
        pytest.param(uniform(5000, 0.001), 1.08, id="1 ms"),
        pytest.param(uniform(300, 0.1), 1.01, id="100 ms"),
        pytest.param(heavy_tail(64, 0.01, 2.0, at=0), 1.01, id="longest first"),
        pytest.param(heavy_tail(64, 0.01, 2.0, at=31), 1.01, id="longest amid"),
        pytest.param(heavy_tail(64, 0.01, 2.0, at=63), 1.01, id="longest last"),
        pytest.param(heavy_tail(5000, 0.0005, 1.0, at=4990), 1.1, id="a long one among quick"),
        pytest.param(log_normal(2000, 0.01, 1.5), 1.12, id="log-normal"),
    ],
)
def test_a_job_takes_hardly_longer_than_it_must(
    workers: int, seconds: list[float], slowdown: float
) -> None:
    assert simulate([Work(seconds=seconds)], workers=workers).slowdown < slowdown


def test_a_straggler_is_overtaken_by_its_copy() -> None:
    limits = Limits(workers=8, can_duplicate=True)
    work = Work(seconds=uniform(64, 1.0))
    trace = simulate([work], workers=8, limits=limits, faults=[Slow(60, 100.0)])
    assert trace.makespan < 8 + 3 + 1 + 0.1


def test_two_jobs_get_their_share() -> None:
    works = [
        Work(id="long", seconds=uniform(100, 0.1)),
        Work(id="short", seconds=uniform(10, 0.1), opens=1.0),
    ]
    trace = simulate(works, workers=4)
    assert trace.makespan == pytest.approx(11.0 / 4, rel=0.1)


def test_a_hundred_thousand_items_on_ten_thousand_workers_take_seconds() -> None:
    trace = simulate([Work(seconds=uniform(100_000, 0.05))], workers=10_000)
    assert trace.slowdown < 1.2
    assert trace.host_seconds_per_item < 0.0002  # some 20 µs are usual


# -- anything that can happen

_items = st.integers(0, 40)
_times = st.sampled_from([None, 1, 2])
_known = st.sampled_from(["item", "batch", "nothing"])
_job = st.sampled_from(["a", "b"])
_faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Crash, _items, _times, _known, _job),
    st.builds(Hang, _items, st.sampled_from([0.5, 3.0]), _times, _job),
    st.builds(Slow, _items, st.sampled_from([10.0, 1000.0]), _times, _job),
    st.builds(Raises, _items, _times, _job),
    st.builds(Unreadable, _items, _times, _job),
    st.builds(Stubborn, _items, _job),
    st.builds(Crashes, st.sampled_from([0.01, 0.1]), _known),
    st.builds(LostResults, st.sampled_from([0.05, 0.5])),
    st.builds(DoubledResults, st.just(0.2)),
    st.builds(LateResults, st.just(0.3), st.sampled_from([0.001, 0.06])),
    st.builds(Stragglers, st.just(0.1), st.sampled_from([10.0, 1000.0])),
    st.builds(Throttled, st.sampled_from([0.1, 1.0]), st.sampled_from([0.01, 2.0])),
)
_moments = st.none() | st.sampled_from([0.0, 0.0021, 0.05, 0.3])


@st.composite
def _ranges(draw: st.DrawFn, n: int) -> tuple[tuple[int, int], ...]:
    """Items with results from the start."""
    cuts = sorted(draw(st.sets(st.integers(0, n), max_size=6)))
    return tuple(zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def _works(draw: st.DrawFn, job_id: str) -> Work:
    n = draw(st.integers(0, 60))
    scale = draw(st.sampled_from([0.0, 1e-5, 0.001, 0.03]))
    chunk = draw(st.none() | st.integers(1, 9))
    return Work(
        id=job_id,
        seconds=[scale * draw(st.floats(0, 3)) for _ in range(min(n, 8))] + [scale] * max(0, n - 8),
        workers=draw(st.none() | st.integers(1, 3)),
        retries=draw(st.integers(0, 2)),
        stop_on_error=draw(st.booleans()),
        timeout=draw(st.sampled_from([None, 0.5])),
        opens=draw(st.sampled_from([0.0, 0.01])),
        chunk=chunk,
        done=() if chunk is not None else draw(_ranges(n)),
        pause=draw(st.sampled_from([0.0, 0.02])),
        cancel=draw(_moments),
        retry=draw(_moments),
    )


_limits = st.builds(
    Limits,
    workers=st.just(4),
    can_revoke=st.booleans(),
    can_duplicate=st.booleans(),
    queue_depth=st.integers(1, 3),
    retry_delay=st.sampled_from([0.0, 0.1]),
)
_anything = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _check_ends(trace: Trace, works: list[Work]) -> None:
    for work in works:
        job = trace.jobs[work.id]
        assert job.ends, f"{work.id} did not end"
        for index, kind in job.failed.items():
            assert kind in ("lost", "timeout", "exception")
            assert not job.accepted[index]


@_anything
@given(
    works=st.tuples(_works("a")) | st.tuples(_works("a"), _works("b")),
    faults=st.lists(_faults, max_size=5),
    workers=st.integers(1, 4),
    limits=_limits,
    latency=st.sampled_from([0.0, 0.0001, 0.01]),
    turn=st.sampled_from([0.0, 0.003]),
    seed=st.integers(0, 2**16),
)
def test_whatever_happens_nothing_is_lost_or_doubled_and_it_ends(
    works: tuple[Work, ...],
    faults: list[Fault],
    workers: int,
    limits: Limits,
    latency: float,
    turn: float,
    seed: int,
) -> None:
    trace = simulate(
        works,
        workers=workers,
        faults=faults,
        limits=limits,
        latency=latency,
        turn=turn,
        seed=seed,
    )
    _check_ends(trace, list(works))


@_anything
@given(
    seconds=st.lists(st.sampled_from([0.0, 1e-4, 0.004, 0.05, 0.5]), max_size=80),
    workers=st.integers(1, 5),
    depth=st.integers(1, 3),
    latency=st.sampled_from([0.0, 0.0001, 0.01]),
)
def test_what_was_taken_back_is_not_run_twice(
    seconds: list[float], workers: int, depth: int, latency: float
) -> None:
    limits = Limits(workers=workers, can_revoke=True, queue_depth=depth)
    trace = simulate([Work(seconds=seconds)], workers=workers, limits=limits, latency=latency)
    assert set(trace.jobs["job"].runs) <= {1}


@_anything
@given(
    raising=st.sets(st.integers(0, 59), min_size=1, max_size=6),
    crashing=st.sets(st.integers(0, 59), max_size=2),
    seed=st.integers(0, 2**16),
    workers=st.integers(1, 6),
    limits=_limits,
)
def test_the_lowest_failing_item_is_the_one_that_surfaces(
    raising: set[int], crashing: set[int], seed: int, workers: int, limits: Limits
) -> None:
    faults = [*map(Raises, sorted(raising)), *map(Crash, sorted(crashing))]
    work = Work(seconds=log_normal(60, 0.003, 1.5, seed))
    job = simulate([work], workers=workers, faults=faults, limits=limits, seed=seed).jobs["job"]
    assert min(job.failed) == min(raising | crashing)


@_anything
@given(
    crashing=st.sets(st.integers(0, 59), max_size=4),
    known=_known,
    cancel=st.floats(0.0, 0.5),
    chunk=st.none() | st.just(60),
    seconds=st.sampled_from([0.0, 1e-4, 0.003, 0.05]),
    limits=_limits,
)
def test_a_retry_completes_what_was_cancelled(
    crashing: set[int],
    known: Any,
    cancel: float,
    chunk: int | None,
    seconds: float,
    limits: Limits,
) -> None:
    faults = [Crash(item, 1, known) for item in sorted(crashing)]
    work = Work(seconds=uniform(60, seconds), cancel=cancel, retry=0.1, chunk=chunk)
    job = simulate([work], workers=3, faults=faults, limits=limits).jobs["job"]
    assert job.ends in (("finish",), ("stopped", "finish"))


@_anything
@given(
    raising=st.sets(st.integers(0, 59), min_size=1),
    seconds=st.sampled_from([0.0, 1e-4, 0.003, 0.05]),
    limits=_limits,
)
def test_a_retry_completes_what_failed(raising: set[int], seconds: float, limits: Limits) -> None:
    faults = [Raises(item, times=1) for item in sorted(raising)]
    work = Work(seconds=uniform(60, seconds), retry=0.0, stop_on_error=False)
    job = simulate([work], workers=3, faults=faults, limits=limits).jobs["job"]
    assert job.ends == ("fail", "finish")
    assert job.failed == {}
