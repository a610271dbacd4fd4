"""The suite that every backend passes, at the level of jobs: real tasks through a session.

Inherit and say how to make a backend; `testing.protocol_suite` has the part below the driver, and
`testing.abilities_suite` what a backend says of itself::

    class TestOurs(JobConformance):
        @classmethod
        def new_backend(cls) -> Backend:
            return OurBackend(workers=2)
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cloudbutton_backend.backends.protocol import Backend
from cloudbutton_backend.errors import JobCancelled, ResultNotSendable, TaskTimeout, WorkerLost
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions, JobState
from cloudbutton_backend.session.session import Session

PATIENCE: Final = 60.0
"""Seconds after which a test gives up; far more than any should need."""


class TaskPlace:
    """A session whose jobs run on the backend under test."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.session = Session()
        self.session.use_backend(backend)

    def start(self, function: Callable[[Any], Any], items: Iterable[Any], **options: Any) -> Job:
        """Start a job."""
        options = {"backend": self.backend.name, **options}
        return self.session.map(function, items, options=JobOptions(**options))

    def map(
        self, function: Callable[[Any], Any], items: Iterable[Any], **options: Any
    ) -> list[Any]:
        """Run a job to its end."""
        job = self.start(function, items, **options)
        assert job.wait(PATIENCE), f"{job!r} has not ended within {PATIENCE:g} s"
        return job.results()


def _last_frames(error: BaseException) -> list[tuple[str, str, str | None]]:
    """Return file, function and line of the two innermost frames."""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return [(frame.filename, frame.name, frame.line) for frame in frames]


class JobConformance:
    """Promises of a backend to users."""

    @classmethod
    def new_backend(cls) -> Backend:
        """Return a new backend with at least two workers."""
        raise NotImplementedError("say how to make the backend under test")

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Iterator[TaskPlace]:
        """Return a place to run jobs at, shared by the tests of the class."""
        place = TaskPlace(cls.new_backend())
        yield place
        place.session.close()

    # -- values

    @pytest.mark.parametrize("n", [0, 1, 2, 1000])
    def test_results_are_right_and_in_the_order_of_the_items(
        self, place: TaskPlace, n: int
    ) -> None:
        assert place.map(lambda x: x * x, range(n)) == [x * x for x in range(n)]

    def test_items_may_come_from_a_generator(self, place: TaskPlace) -> None:
        assert place.map(lambda x: -x, (x for x in range(300))) == [-x for x in range(300)]

    def test_each_result_arrives_once(self, place: TaskPlace) -> None:
        arrived = list(place.start(lambda x: x + 1, range(500)).as_completed())
        assert sorted(arrived) == [(x, x + 1) for x in range(500)]

    def test_large_items_and_results_travel(self, place: TaskPlace) -> None:
        items = [bytes([n]) * 3_000_000 for n in range(4)]
        assert place.map(lambda item: item[::-1] + b"!", items) == [item + b"!" for item in items]

    def test_a_large_captured_value_travels(self, place: TaskPlace) -> None:
        table = os.urandom(2_000_000)
        assert place.map(lambda at: table[at], [0, 999_999, -1]) == [
            table[0],
            table[999_999],
            table[-1],
        ]

    def test_classes_of_the_notebook_travel_both_ways(self, place: TaskPlace) -> None:
        class Point:
            def __init__(self, x: int) -> None:
                self.x = x

        moved = place.map(lambda point: Point(point.x + 1), [Point(1), Point(2)])
        assert [point.x for point in moved] == [2, 3]

    def test_two_jobs_at_once_do_not_mix(self, place: TaskPlace) -> None:
        def pair(k: int) -> Callable[[int], tuple[int, int]]:
            return lambda x: (k, x)

        jobs = [place.start(pair(k), range(200)) for k in range(3)]
        for k, job in enumerate(jobs):
            assert job.results() == [(k, x) for x in range(200)]

    def test_random_numbers_depend_on_the_seed_and_the_item_alone(self, place: TaskPlace) -> None:
        from cloudbutton_backend.worker.context import rng

        def draw(_: int) -> float:
            return float(rng().random())

        first, second = (place.map(draw, range(50), seed=7, workers=w) for w in (1, 2))
        assert first == second and len(set(first)) == 50

    def test_what_items_print_comes_back_with_them(self, place: TaskPlace) -> None:
        job = place.start(lambda x: sys.stdout.write(f"item {x}\n"), range(5))
        job.results()
        shown = ["".join(str(out.data) for out in outcome.outputs) for outcome in job.outcomes()]
        assert shown == [f"item {x}\n" for x in range(5)]

    def test_where_items_run_is_where_its_limits_say(
        self, place: TaskPlace, tmp_path: Path
    ) -> None:
        limits, file = place.backend.limits, tmp_path / "here"
        file.touch()

        def look(path: str) -> tuple[str, int, bool]:
            return socket.gethostname(), os.getpid(), os.path.exists(path)

        for host, pid, sees_file in place.map(look, [str(file)] * 3):
            assert pid != os.getpid()
            assert sees_file or not limits.shares_files
            assert host == socket.gethostname() or not limits.is_this_machine

    # -- failures

    def test_an_exception_surfaces_with_its_type_and_that_of_the_first_item(
        self, place: TaskPlace
    ) -> None:
        def inverse(x: int) -> float:
            return 1 / (x - 20) if x <= 20 else float({}[x])  # type: ignore[index]

        with pytest.raises(ZeroDivisionError):
            place.map(inverse, range(40))

    def test_an_error_shows_the_lines_that_raised_it(self, place: TaskPlace) -> None:
        def divide(x: int) -> float:
            return 1 / x

        def task(x: int) -> float:
            return divide(x)

        with pytest.raises(ZeroDivisionError) as caught:
            place.map(task, [1, 0])
        assert _last_frames(caught.value) == [
            (__file__, "task", "return divide(x)"),
            (__file__, "divide", "return 1 / x"),
        ]

    def test_a_function_that_comes_back_knows_where_it_was_written(self, place: TaskPlace) -> None:
        def make(n: int) -> Callable[[int], float]:
            def inner(x: int) -> float:
                return x / n

            return lambda x: inner(x) + 1

        (made,) = place.map(make, [0])
        with pytest.raises(ZeroDivisionError) as caught:
            made(1)
        assert _last_frames(caught.value) == [
            (__file__, "<lambda>", "return lambda x: inner(x) + 1"),
            (__file__, "inner", "return x / n"),
        ]

    def test_errors_are_kept_in_their_places_when_asked(self, place: TaskPlace) -> None:
        values = place.map(lambda x: 6 // x, [1, 0, 3], errors="keep")
        assert (values[0], type(values[1]), values[2]) == (6, ZeroDivisionError, 2)

    def test_an_exception_is_tried_again_when_asked(self, place: TaskPlace) -> None:
        job = place.start(lambda x: 1 // x, [0], retries=2, errors="keep")
        job.wait(PATIENCE)
        assert (job.state, job.progress.retried) == (JobState.FAILED, 2)

    def test_a_result_that_cannot_travel_fails_alone(self, place: TaskPlace) -> None:
        values = place.map(lambda x: threading.Lock() if x == 1 else x, [0, 1, 2], errors="keep")
        assert (values[0], type(values[1]), values[2]) == (0, ResultNotSendable, 2)

    def test_an_item_that_ends_its_worker_each_time_fails_alone(self, place: TaskPlace) -> None:
        values = place.map(lambda x: os._exit(9) if x == 5 else x, range(20), errors="keep")
        failure = values.pop(5)
        assert type(failure) is WorkerLost
        assert failure.attempts == place.backend.limits.lost_attempts
        assert values == [x for x in range(20) if x != 5]

    def test_an_item_that_takes_too_long_fails(self, place: TaskPlace) -> None:
        def wait(x: int) -> int:
            if x == 1:
                threading.Event().wait()  # ends: with the time-out that is tested
            return x

        values = place.map(wait, [0, 1, 2], timeout=0.3, errors="keep")
        assert (values[0], type(values[1]), values[2]) == (0, TaskTimeout, 2)

    # -- cancelling

    def test_a_cancelled_job_ends_soon_and_the_next_one_works(self, place: TaskPlace) -> None:
        # ends: with the cancelling that is tested
        job = place.start(lambda _: threading.Event().wait(), range(10))
        job.cancel()
        assert job.wait(10.0)
        with pytest.raises(JobCancelled):
            job.results()
        assert place.map(lambda x: x, [1, 2]) == [1, 2]

    def test_cancelling_twice_or_after_the_end_does_no_harm(self, place: TaskPlace) -> None:
        job = place.start(lambda x: x, [1])
        assert job.results() == [1]
        job.cancel()
        job.cancel()
        assert place.map(lambda x: x, [2]) == [2]
        assert job.state is JobState.DONE

    def test_closing_twice_does_no_harm(self) -> None:
        place = TaskPlace(self.new_backend())
        assert place.map(lambda x: x, [1]) == [1]
        place.session.close()
        place.session.close()
        place.backend.close()


class SharedFilesConformance(JobConformance):
    """Further promises of backends whose workers see the files of this machine."""

    def test_a_worker_that_dies_costs_no_result(self, place: TaskPlace, tmp_path: Path) -> None:
        marker = str(tmp_path / "died")

        def die_once(x: int) -> int:
            if x == 150:
                try:
                    os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return x
                os._exit(9)
            return x

        job = place.start(die_once, range(300))
        assert job.results() == list(range(300))
        assert job.progress.lost_workers == 1

    def test_what_was_cancelled_completes_when_retried(
        self, place: TaskPlace, tmp_path: Path
    ) -> None:
        gate = str(tmp_path / "open")

        def wait_for_gate(x: int) -> int:
            while x and not os.path.exists(gate):  # ends: with the cancelling, or the gate
                threading.Event().wait(0.002)
            return x

        job = place.start(wait_for_gate, range(20))
        next(job.as_completed())
        job.cancel()
        assert job.wait(10.0) and job.state is JobState.CANCELLED
        Path(gate).touch()
        assert job.retry_failed().results() == list(range(20))

    def test_a_process_whose_import_was_interrupted_runs_nothing_more(
        self, place: TaskPlace, tmp_path: Path
    ) -> None:
        begun, folder = tmp_path / "begun", str(tmp_path)
        (tmp_path / "never_imported.py").write_text(
            "import os, pathlib\n"
            f"path = pathlib.Path({str(begun)!r})\n"
            "path.with_suffix('.new').write_text(str(os.getpid()))\n"
            "path.with_suffix('.new').rename(path)\n"
            "[0 for _ in iter(int, 1)]\n"
        )

        def load(_: int) -> None:
            sys.path.insert(0, folder)
            __import__("never_imported")

        job = place.start(load, [0])
        deadline = time.monotonic() + PATIENCE
        while not begun.exists():
            assert time.monotonic() < deadline
            threading.Event().wait(0.005)
        job.cancel()
        assert job.wait(10.0)
        assert int(begun.read_text()) not in place.map(lambda _: os.getpid(), range(100))
