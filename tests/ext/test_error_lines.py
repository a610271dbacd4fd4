"""An error shows the user's lines, whichever way its function went, and wherever it ran."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import dask
import joblib
import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.backends.dask.backend import DaskBackend
from cloudbutton_backend.backends.dask.settings import DaskSettings
from cloudbutton_backend.session.session import Session
from cloudbutton_ext.multiprocessing import Pool
from tests.dask_backend.conftest import shared_cluster
from tests.ext.conftest import Script
from tests.lambda_backend.conftest import new_backend, shared_emulator

Function = Callable[[int], float]


class Divider:
    def __init__(self, dividend: int) -> None:
        self.dividend = dividend

    def divide(self, x: int) -> float:
        return next(self.dividend / n for n in [x])


def quotient(x: int) -> float:
    return Divider(1).divide(x)


Shown = tuple[str, str, str, str]


def place(function: Callable[..., object], name: str, line: int) -> Shown:
    """Return what a traceback shows of a line of a function of this file."""
    lines, first = inspect.getsourcelines(function)
    return __file__, str(first + line), name, lines[line].strip()


def by_map(function: Function, backend: str) -> None:
    cloud.map(function, [1, 0], backend=backend, workers=2).results()


def by_map_reduce(function: Function, backend: str) -> None:
    cloud.map_reduce(function, [1, 0], sum, backend=backend, workers=2).results()


def by_reducer(function: Function, backend: str) -> None:
    reduce = cloud.map_reduce(int, [1, 0], lambda found: function(min(found)), backend=backend)
    reduce.results()


def by_executor(function: Function, backend: str) -> None:
    with cloud.Executor(2, backend=backend) as executor:
        executor.submit(function, 0).result()


def by_pool(function: Function, backend: str) -> None:
    with Pool(2, backend=backend) as pool:
        pool.map(function, [1, 0])


def by_joblib(function: Function, backend: str) -> None:
    with joblib.parallel_config("cloudbutton", on=backend):
        joblib.Parallel(n_jobs=2)(joblib.delayed(function)(x) for x in (1, 0))


def by_dask_graph(function: Function, backend: str) -> None:
    graph = [dask.delayed(function)(x) for x in (1, 0)]  # type: ignore[attr-defined]
    dask.compute(graph, scheduler=cloud.dask_scheduler(backend))  # type: ignore[attr-defined]


WAYS = [by_map, by_map_reduce, by_reducer, by_executor, by_pool, by_joblib, by_dask_graph]


@pytest.fixture(params=["local", "dask", "lambda"], scope="module")
def backend(request: pytest.FixtureRequest, session: Session) -> str:
    """The name of a backend that is ready; two of them in processes of their own."""
    name = str(request.param)
    if name == "dask":
        session.use_backend(DaskBackend(DaskSettings(address=shared_cluster().address, workers=4)))
    elif name == "lambda":
        session.use_backend(new_backend(shared_emulator()))
    return name


# Tasks have the filters of this process, and joblib finds no semaphores on Lambda.
@pytest.mark.filterwarnings("default:.*joblib will operate in serial mode")
@pytest.mark.timeout(120)  # the first to ask for a cluster or an account waits for its start
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__[3:])
def test_an_error_shows_the_lines_that_raised_it(
    way: Callable[[Function, str], None], backend: str
) -> None:
    with pytest.raises((ZeroDivisionError, cloud.CloudError)) as caught:
        way(quotient, backend)
    # As text: joblib takes the traceback itself away.
    shown = "".join(traceback.format_exception(caught.value))
    frames = re.findall(r'File "(.*)", line (\d+), in (\S+)\n +(.*)\n', shown)
    last = frames.index(frame := place(Divider.divide, "<genexpr>", 1))
    assert frames[last - 2 : last + 1] == [
        place(quotient, "quotient", 1),
        place(Divider.divide, "divide", 1),
        frame,
    ]


PROGRAM = """\
import cloudbutton_ext as cloud

def quotient(x):
    return 1 / x + 1

cloud.map(quotient, [1, 0]).results()
"""


def test_a_program_that_fails_shows_its_own_lines(python: Script, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    _, shown = python("program.py").communicate(timeout=25)
    lines = [line.strip() for line in shown.splitlines()]
    place = next(at for at, line in enumerate(lines) if line.endswith("line 4, in quotient"))
    assert lines[place].startswith(f'File "{tmp_path / "program.py"}"')
    # Nothing is underlined: what of the line has failed is not known here.
    assert lines[place + 1 : place + 3] == [
        "return 1 / x + 1",
        "ZeroDivisionError: division by zero",
    ]
