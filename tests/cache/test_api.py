"""`cloud.map(…, cache=True)`: what ran before is not run again; everything else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_backend.handle import Job
from cloudbutton_backend.jobs import JobOptions
from cloudbutton_backend.session import Session

_Run = Callable[..., tuple[Job, list[Any], list[Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[Session]:
    home.chmod(0o700)
    session = Session(home)
    yield session
    session.close()


@pytest.fixture
def run(session: Session, tmp_path: Path) -> _Run:
    """Run a function with the cache; return the job, its results, and the items that ran."""

    def run(function: Any, items: Any, **options: Any) -> tuple[Job, list[Any], list[Any]]:
        log = tmp_path / "log"
        log.write_text("")
        job = session.map(
            logged(function, str(log)), items, options=JobOptions(cache=True, **options)
        )
        results = job.results()
        return job, results, sorted(log.read_text().splitlines())

    return run


def logged(function: Callable[[Any], Any], log: str) -> Callable[[Any], Any]:
    def task(item: Any) -> Any:
        with open(log, "a") as file:
            file.write(f"{item!r}\n")
        return function(item)

    return task


def test_what_ran_before_is_found_and_only_what_is_new_runs(run: _Run) -> None:
    job, results, ran = run(lambda x: x * 2, [1, 2, 3, 4])
    assert results == [2, 4, 6, 8] and len(ran) == 4 and job.progress.cached == 0
    job, results, ran = run(lambda x: x * 2, [1, 2, 30, 4])
    assert results == [2, 4, 60, 8] and ran == ["30"]
    assert job.progress.cached == 3 and job.progress.done == 4
