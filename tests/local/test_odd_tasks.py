"""Tasks that do to their worker what ordinary code may do to an ordinary process."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session

KEEP = JobOptions(errors="keep")


def texts(job: Job) -> list[str]:
    return ["".join(str(out.data) for out in outcome.outputs) for outcome in job.outcomes()]


def draws_what_cannot_be_drawn(x: int) -> int:
    import matplotlib.pyplot as plt

    plt.figure()
    plt.title(r"$\frac{$")
    return x


class Unsendable:
    def __reduce__(self) -> Any:
        raise TypeError("not for travelling")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": "shown as text", "application/odd": Unsendable()}


def displays_what_cannot_travel(x: int) -> int:
    from IPython.display import display

    display(Unsendable())
    return x


def writes_bytes(x: int) -> int:
    for byte in "é\n".encode():
        sys.stdout.buffer.write(bytes([byte]))
    return x


def prints_in_a_forked_process(x: int) -> int:
    child = multiprocessing.get_context("fork").Process(target=print, args=("from a child", x))
    child.start()
    child.join()
    return x


def prints_from_threads(x: int) -> int:
    threads = [threading.Thread(target=lambda: [print("t") for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return x


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        (draws_what_cannot_be_drawn, "a figure could not be drawn"),
        (displays_what_cannot_travel, "shown as text"),
        (writes_bytes, "é\n"),
        (prints_in_a_forked_process, "from a child 0\n"),
    ],
)
def test_what_a_task_shows_in_odd_ways_is_seen_and_its_value_kept(
    session: Session, task: Callable[[int], int], shown: str
) -> None:
    job = session.map(task, range(1), options=KEEP)
    assert job.results() == [0]
    assert shown in texts(job)[0]


def draws_and_fails(x: int) -> int:
    import matplotlib.pyplot as plt

    plt.plot([0, x])
    return 1 // x


def test_nothing_is_kept_of_what_a_failed_item_drew(session: Session) -> None:
    shown = texts(session.map(draws_and_fails, [1, 0, 0, 1], options=KEEP))
    assert "image/png" not in shown[1] + shown[2]
    assert "image/png" in "".join(shown)
    assert "".join(texts(session.map(abs, range(8)))) == ""


def test_nothing_is_lost_of_what_threads_print_together(session: Session) -> None:
    (text,) = texts(session.map(prints_from_threads, range(1)))
    assert text.count("t") == text.count("\n") == 1200


def replaces_stdout(x: int) -> int:
    sys.stdout = sys.stderr = io.StringIO()
    sys.stdout.close()
    return x


def empties_the_environment(x: int) -> int:
    os.environ.clear()
    return x


def extends_the_path(x: int) -> int:
    sys.path.insert(0, "/nowhere")
    return x


def ignores_interrupts(x: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return x


def state(_: int) -> tuple[Any, ...]:
    print("heard")
    handled = callable(signal.getsignal(signal.SIGINT))
    return "/nowhere" in sys.path, handled, os.environ.get("CB_NEW"), os.environ["MPLBACKEND"]


@pytest.mark.parametrize(
    "task", [replaces_stdout, empties_the_environment, extends_the_path, ignores_interrupts]
)
def test_what_a_task_leaves_behind_does_not_reach_the_next_job(
    session: Session, task: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.map(task, range(8)).results()
    monkeypatch.setenv("CB_NEW", "1")
    job = session.map(state, range(4))
    inline = "module://cloudbutton_backend.worker.mpl_backend"
    assert job.results() == [(False, True, "1", inline)] * 4
    assert texts(job) == ["heard\n"] * 4
    assert job.progress.lost_workers == 0


def test_workers_seeded_alike_by_one_job_draw_different_numbers_in_the_next(
    session: Session, tmp_path: Any
) -> None:
    def meet() -> int:
        """Wait until two workers are here, and return which this is."""
        (tmp_path / str(os.getpid())).touch()
        while len(list(tmp_path.iterdir())) < 2:
            threading.Event().wait(0.001)
        return os.getpid()

    def seeds(_: int) -> int:
        random.seed(1)
        np.random.seed(1)
        return meet()

    assert len(set(session.map(seeds, range(2)).results())) == 2
    for path in tmp_path.iterdir():
        path.unlink()
    drawn = session.map(lambda _: (meet(), random.random(), np.random.rand()), range(2)).results()
    assert all(len(set(column)) == 2 for column in zip(*drawn))


class AnswersOddly:
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name) if not name.startswith("__reduce") else AttributeError(name)

    def __getstate__(self) -> None:
        return None  # before Python 3.11, pickle would ask `__getattr__` for it

    def __call__(self, x: int) -> int:
        return x


def test_a_captured_object_that_bears_no_questions_can_be_used(session: Session) -> None:
    odd = AnswersOddly()
    job = session.map(lambda x: odd(x), range(3))
    assert job.results() == [0, 1, 2]
    assert job.progress.lost_workers == 0


def raises_in_a_child(x: int) -> tuple[int, int]:
    child = os.fork()
    if child == 0:
        raise ValueError
    return x, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_a_forked_child_raises_is_not_the_items_error(session: Session) -> None:
    assert session.map(raises_in_a_child, range(3)).results() == [(0, 1), (1, 1), (2, 1)]


class LoadsForEver:
    def __reduce__(self) -> Any:
        return time.sleep, (1000,)


def test_a_job_whose_function_never_loads_can_be_cancelled(session: Session) -> None:
    endless = LoadsForEver()
    job = session.map(lambda x: (endless, x), range(4))
    while not job.progress.running:
        threading.Event().wait(0.001)
    job.cancel()
    assert job.wait(5.0)
    assert session.map(abs, [-1]).results() == [1]


class SlowToPickle:
    def __reduce__(self) -> Any:
        time.sleep(0.001)
        return SlowToPickle, ()


def test_a_result_that_the_next_item_changes_is_sent_when_it_rests(session: Session) -> None:
    """Finished results are sent while a long item runs; this one grows under the pickler's hands."""
    seen: dict[int, Any] = {}

    def remembers(x: int) -> Any:
        seen[x] = SlowToPickle()
        end = time.monotonic() + (0.3 if x == 40 else 0.0)
        while time.monotonic() < end:
            seen[-len(seen)] = SlowToPickle()
            time.sleep(0.002)
        return seen if x == 39 else None

    options = JobOptions(errors="keep", guard="off", workers=1)
    job = session.map(remembers, range(41), options=options)
    assert type(job.results()[39]) is dict


class OnlyHere:
    """Can be pickled, and nowhere unpickled."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_a_function_that_cannot_be_loaded_is_told_for_the_users_items(session: Session) -> None:
    spoiled = OnlyHere()
    job = session.map(lambda x: (x, spoiled), ["ten", "twenty"], options=KEEP)
    outcomes = list(job.outcomes())
    assert [outcome.began for outcome in outcomes] == [False, False]
    assert [getattr(error, "cloud_item", "") for error in job.errors().values()] == [
        "item 0 ('ten')",
        "item 1 ('twenty')",
    ]
    assert job.id not in str(job.progress.first_error)
    assert str(job.progress.first_error).endswith("(item 0 ('ten'))")
