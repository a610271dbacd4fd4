"""An initializer prepares each worker once, and the calls find what it has left."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import BrokenExecutor, wait
from pathlib import Path
from typing import Any

import pytest

import cloudbutton_ext as cloud
from tests.ext.conftest import Script


def notebook(source: str) -> dict[str, Any]:
    """Return the namespace in which a notebook's cell ran: code that travels by value."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


COUNTER = """
import functools
state = None

def begin(start, log):
    global state
    state = [start]
    open(log, "a").write("x")

def count(step):
    state[0] += step
    return state[0]

def plain():
    return helper()

def helper():
    return state is not None

class Counter:
    def __call__(self):
        return state is not None
    def method(self):
        return state is not None
"""


def test_it_runs_once_in_a_worker_and_calls_share_what_it_made(tmp_path: Path) -> None:
    cell = notebook(COUNTER)
    log = tmp_path / "log"
    with cloud.Executor(1, initializer=cell["begin"], initargs=(10, str(log))) as executor:
        counts = [executor.submit(cell["count"], 1).result() for _ in range(30)]
    assert counts.count(11) == len(log.read_text()) <= 2  # one call at a time, in any worker
    assert max(counts) >= 10 + 30 / 2
    assert cell["state"] is None


@pytest.mark.parametrize("form", ["plain", "method", "partial", "object"])
def test_any_form_of_a_function_finds_it(tmp_path: Path, form: str) -> None:
    cell = notebook(COUNTER)
    counter = cell["Counter"]()
    function = {
        "plain": cell["plain"],
        "method": counter.method,
        "partial": cell["functools"].partial(cell["plain"]),
        "object": counter,
    }[form]
    initargs = (0, str(tmp_path / "log"))
    with cloud.Executor(1, initializer=cell["begin"], initargs=initargs) as executor:
        assert executor.submit(function).result() is True


def test_it_runs_again_in_the_worker_that_replaces_a_dead_one(tmp_path: Path) -> None:
    cell = notebook(COUNTER)
    log = tmp_path / "log"
    with cloud.Executor(1, initializer=cell["begin"], initargs=(10, str(log))) as executor:
        assert executor.submit(cell["count"], 1).result() == 11
        assert isinstance(executor.submit(os._exit, 3).exception(), BrokenExecutor)
        assert executor.submit(cell["count"], 5).result() in (15, 16)


def test_one_that_fails_breaks_the_executor_with_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = cloud.Executor(2, initializer=lambda: {}["model"])
    futures = [executor.submit(abs, 0)]
    with contextlib.suppress(BrokenExecutor):  # it may be known already
        futures += [executor.submit(abs, n) for n in range(20)]
    assert wait(futures, timeout=10).not_done == set()
    assert all(isinstance(future.exception(), BrokenExecutor) for future in futures)
    with pytest.raises(BrokenExecutor, match="initializer failed") as caught:
        executor.submit(abs, 1)
    assert "KeyError: 'model'" in str(caught.value.__cause__)
    assert isinstance(caught.value.__cause__.__cause__, KeyError)  # type: ignore[union-attr]
    assert "Exception in initializer" in caplog.text


def test_what_is_no_initializer_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a callable"):
        cloud.Executor(2, initializer=3)  # type: ignore[arg-type]


def test_what_calls_print_appears_here(python: Script) -> None:
    script = """
import sys
import cloudbutton_ext as cloud
executor = cloud.Executor(2)
executor.submit(print, "from a worker")
executor.submit(print, "in alarm", file=sys.stderr)
"""
    out, err = python("-c", script).communicate(timeout=30)
    assert (out, err) == ("from a worker\n", "in alarm\n")
