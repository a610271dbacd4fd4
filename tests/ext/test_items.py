"""What may be mapped over, and what becomes of it while the job runs."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from tqdm import tqdm

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import JobCancelled, JobFailed
from cloudbutton_backend.job_model import JobState
from tests.ext.conftest import Gate


def same(x: Any) -> Any:
    return x


@pytest.mark.parametrize(
    "make",
    [
        lambda: [3, 1, 2],
        lambda: (3, 1, 2),
        lambda: range(5, 50, 3),
        lambda: {"b": 1, "a": 2},
        lambda: {"b": 1, "a": 2}.items(),
        lambda: {4, 5, 6},
        lambda: frozenset("xyz"),
        lambda: "text",
        lambda: b"bytes",
        lambda: deque([1, 2, 3]),
        lambda: iter([1, 2, 3]),
        lambda: (x * x for x in range(7)),
        lambda: zip("abc", itertools.count()),
        lambda: enumerate("abc"),
        lambda: tqdm([1, 2, 3], disable=True),
        lambda: tqdm((x for x in range(3)), disable=True),
        lambda: Counter("hello").most_common(),
        lambda: [],
        lambda: iter([]),
        lambda: {},
    ],
)
def test_any_iterable_gives_what_a_plain_loop_gives(make: Callable[[], Iterable[Any]]) -> None:
    job = cloud.map(same, make())
    assert job.results() == list(make())
    assert job.n_items == len(list(make())) and job.state is JobState.DONE


def test_an_array_is_mapped_over_by_rows() -> None:
    array = np.arange(12.0).reshape(4, 3)
    assert cloud.map(lambda row: float(row.sum()), array).results() == [3.0, 12.0, 21.0, 30.0]
    flat = cloud.map(same, np.arange(3)).results()
    assert flat == [0, 1, 2] and isinstance(flat[0], np.integer)


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: ([1, 2, 3], [4, 5]), [(1, 4), (2, 5)]),
        (lambda: ([1, 2], itertools.count()), [(1, 0), (2, 1)]),
        (lambda: (itertools.count(), itertools.count(5), "ab"), [(0, 5, "a"), (1, 6, "b")]),
        (lambda: (iter([1, 2]), (4, 5, 6)), [(1, 4), (2, 5)]),
        (lambda: ([1], []), []),
    ],
)
def test_several_iterables_are_taken_together_up_to_the_shortest(
    make: Callable[[], Any], plain: list[Any]
) -> None:
    assert cloud.map(lambda *each: each, *make()).results() == plain


def test_a_huge_range_is_never_made_a_list() -> None:
    job = cloud.map(lambda x: x, range(10**12), workers=1)
    first = next(job.as_completed())
    job.cancel()
    assert first == (0, 0) and job.wait(5)


@pytest.mark.parametrize("make", [list, dict.fromkeys, set, np.array])
def test_items_are_those_of_the_call_whatever_happens_to_their_container(
    make: Callable[[Any], Any], gate: Gate
) -> None:
    items = make(list(range(20)))

    def task(x: Any) -> int:
        gate.wait()
        return int(x)

    job = cloud.map(task, items)
    if isinstance(items, np.ndarray):
        items[:] = -1
    else:
        items.clear()
    gate.open()
    assert job.results() == list(range(20))


def test_a_generator_is_not_pulled_further_than_needed(gate: Gate) -> None:
    pulled = []

    def items() -> Iterator[int]:
        for x in itertools.count():
            pulled.append(x)
            yield x

    def task(x: int) -> int:
        gate.note(str(x))
        gate.wait()
        return x

    job = cloud.map(task, items())
    gate.await_marks(2)
    job.cancel()
    assert job.wait(5)
    assert (
        len(pulled) <= 2 + 2 * 4
    )  # those that run, and `_LOOKAHEAD` batches of one for each worker


def test_items_of_a_slow_generator_run_while_the_next_is_awaited(gate: Gate) -> None:
    def items() -> Iterator[int]:
        yield 0
        gate.await_marks(1)  # item 0 has run, though nothing came after it
        yield 1

    assert cloud.map(lambda x: gate.note(str(x)), items()).results() == [None, None]


def test_an_endless_generator_can_be_cancelled_and_is_closed(gate: Gate) -> None:
    def items() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            gate.note("closed")

    job = cloud.map(same, items())
    arrived = [pair for _, pair in zip(range(100), job.as_completed())]
    job.cancel()
    assert job.wait(5) and job.state is JobState.CANCELLED
    assert all(index == value for index, value in arrived)
    assert gate.await_marks(1) == {"closed"}
    with pytest.raises(JobCancelled):
        job.results()
    assert len(job.partial()) >= 100


def a_generator_that_raises() -> Iterator[int]:
    yield from range(10)
    raise OSError("the file ended early")


def test_a_generator_that_raises_loses_none_of_the_items_before() -> None:
    job = cloud.map(same, a_generator_that_raises())
    with pytest.raises(JobFailed, match="OSError: the file ended early") as caught:
        job.results()
    assert isinstance(caught.value.__cause__, OSError)
    assert job.state is JobState.FAILED
    assert job.partial() == {i: i for i in range(10)}


def test_a_job_whose_items_could_not_all_be_had_fails_again_and_alone_when_retried(
    gate: Gate,
) -> None:
    def waits(x: int) -> int:
        gate.wait()
        return x

    job = cloud.map(abs, a_generator_that_raises())
    other = cloud.map(waits, range(4), workers=1)
    for _ in range(2):
        with pytest.raises(JobFailed, match="could not all be produced"):
            job.results()
        assert job.state is JobState.FAILED
        job.retry_failed()
    gate.open()
    assert other.results() == list(range(4))
    assert job.wait(30) and job.state is JobState.FAILED


def test_an_item_that_fails_comes_before_a_generator_that_raises_later() -> None:
    job = cloud.map(lambda x: 1 // (x - 4), a_generator_that_raises())
    with pytest.raises(ZeroDivisionError):
        job.results()


def test_a_generators_failed_items_can_be_retried(gate: Gate) -> None:
    def task(x: int) -> int:
        if x == 3 and "fixed" not in gate.marks():
            raise ValueError("not yet")
        return x

    job = cloud.map(task, (x for x in range(8)), errors="keep")
    assert isinstance(job.results()[3], ValueError)
    gate.note("fixed")
    assert job.retry_failed().results() == list(range(8))


def test_retrying_never_passes_off_a_part_as_the_whole(gate: Gate) -> None:
    def task(x: int) -> int:
        if x == 3 and "fixed" not in gate.marks():
            raise ValueError("not yet")
        return x

    job = cloud.map(task, itertools.count())
    with pytest.raises(ValueError):
        job.results()
    gate.note("fixed")
    with pytest.raises(JobFailed, match="never asked for"):
        job.retry_failed().results()
    assert job.partial()[3] == 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((same, 5), "another iterable, not an int"),
        (([1, 2], same), "must be callable, not \\[1, 2\\]"),
        ((None, [1]), "must be callable, not None"),
    ],
)
def test_what_cannot_be_mapped_is_refused_at_once(arguments: Any, text: str) -> None:
    before = len(cloud.jobs())
    with pytest.raises(TypeError, match=text):
        cloud.map(*arguments)
    assert len(cloud.jobs()) == before


@pytest.mark.parametrize("wrap", [list, iter])
def test_an_item_that_cannot_travel_fails_alone(wrap: Callable[[Any], Any]) -> None:
    with open(__file__) as file:
        results = cloud.map(same, wrap([1, file, 3]), errors="keep").results()
    assert [results[0], results[2]] == [1, 3]
    assert isinstance(results[1], cloud.CloudError) and "file" in str(results[1])
