"""`cloud.map(…, cache=True)`: what ran before is not run again; everything else is."""

from __future__ import annotations

import functools
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cloudbutton_ext as cloud
from cloudbutton_backend.durable.item_file import StoredItems
from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.job.job import Job
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.storage import sealed_files
from cloudbutton_backend.storage.job_paths import items_file
from tests.support.result_files import records_in

Mapped = tuple[Job, list[Any], list[str]]
"""A job, its results, and the items that ran."""
Mapper = Callable[..., Mapped]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    path.chmod(0o700)
    return path


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[Session]:
    session = Session(home)
    yield session
    session.close()


@pytest.fixture
def mapped(session: Session, tmp_path: Path) -> Mapper:
    """Map a function with the cache."""

    def mapped(function: Callable[[Any], Any], items: Any, **options: Any) -> Mapped:
        log = tmp_path / "log"  # part of the code: each test begins with nothing in the cache
        log.write_text("")
        chosen = JobOptions(**{"cache": True, **options})
        job = session.map(functools.partial(_logged, function, str(log)), items, options=chosen)
        results = job.results()
        return job, results, sorted(log.read_text().splitlines())

    return mapped


def _logged(function: Callable[[Any], Any], log: str, item: Any) -> Any:
    with open(log, "a") as file:
        file.write(f"{item!r:.40}\n")
    return function(item)


def test_what_ran_before_is_found_and_only_what_is_new_runs(mapped: Mapper) -> None:
    job, results, ran = mapped(lambda x: x * 2, [1, 2, 3, 4])
    assert results == [2, 4, 6, 8] and len(ran) == 4 and job.progress.cached == 0
    job, results, ran = mapped(lambda x: x * 2, [1, 2, 30, 4])
    assert results == [2, 4, 60, 8] and ran == ["30"]
    assert job.progress.cached == 3 and job.progress.done == 4


def test_nothing_is_looked_for_or_kept_unless_it_is_asked_for(mapped: Mapper) -> None:
    mapped(lambda x: x + 1, [1, 2], cache=False)
    assert len(mapped(lambda x: x + 1, [1, 2])[2]) == 2
    assert len(mapped(lambda x: x + 1, [1, 2], cache=False)[2]) == 2
    assert mapped(lambda x: x + 1, [1, 2])[2] == []


def test_items_are_found_wherever_they_stand_and_however_often(mapped: Mapper) -> None:
    mapped(lambda x: f"<{x}>", list(range(200)))
    items = [*range(150, 90, -1), 7, 7, 500, 3, *range(20, 40)]
    job, results, ran = mapped(lambda x: f"<{x}>", items)
    assert results == [f"<{x}>" for x in items] and ran == ["500"]
    assert job.progress.cached == len(items) - 1


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.full(3, x),
        lambda x: np.full(50_000, x),  # larger than what comes through the socket
        lambda x: {"n": x, "list": [x] * 3},
        lambda x: (x, np.arange(x)),
        lambda x: None,
    ],
    ids=["small array", "large array", "dictionary", "mixed", "nothing"],
)
def test_results_of_all_kinds_come_back_as_they_were(mapped: Mapper, make: Any) -> None:
    _, first, _ = mapped(make, list(range(12)))
    _, second, ran = mapped(make, [3, 4, 5, 11, 0])
    assert ran == []
    for x, value in zip([3, 4, 5, 11, 0], second):
        np.testing.assert_equal(value, first[x])
        if isinstance(value, np.ndarray):
            value += 1  # each has memory of its own, which may be written to


@given(
    first=st.lists(st.integers(0, 30), max_size=25),
    second=st.lists(st.integers(0, 30), max_size=25),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_just_the_items_that_no_job_ran_before_run(
    session: Session, home: Path, first: list[int], second: list[int]
) -> None:
    seen = Path(home / "seen")
    known = set(map(int, seen.read_text().split())) if seen.exists() else set()
    options = JobOptions(cache=True)
    for items in (first, second):
        job = session.map(lambda x: [x, x**2], items, options=options)
        assert job.results() == [[x, x**2] for x in items]
        assert job.progress.cached == sum(x in known for x in items)
        known |= set(items)
    seen.write_text(" ".join(map(str, known)))


def test_printed_output_comes_back_too(mapped: Mapper) -> None:
    def speak(x: int) -> int:
        print(f"item {x}")
        return x

    mapped(speak, [1, 2, 3])
    job, _, ran = mapped(speak, [3, 1])
    shown = [(outcome.index, outcome.outputs[0].data) for outcome in job.shown()]
    assert ran == [] and shown == [(0, "item 3\n"), (1, "item 1\n")]


def test_failed_items_are_tried_again(mapped: Mapper, tmp_path: Path) -> None:
    flag = str(tmp_path / "flag")

    def fragile(x: int) -> int:
        if x == 2 and not os.path.exists(flag):
            raise ValueError(x)
        return x

    _, results, _ = mapped(fragile, [1, 2, 3], errors="keep")
    assert isinstance(results[1], ValueError)
    Path(flag).write_text("")
    job, results, ran = mapped(fragile, [1, 2, 3], errors="keep")
    assert results == [1, 2, 3] and ran == ["2"] and job.progress.cached == 2


# -- random numbers


def test_draws_are_found_again_for_the_same_seed_and_place_only(mapped: Mapper) -> None:
    def draw(x: int) -> float:
        return float(cloud.rng().normal(x))

    _, first, _ = mapped(draw, [10, 20, 30], seed=1)
    assert mapped(draw, [10, 20, 30], seed=1)[1:] == (first, [])
    _, second, ran = mapped(draw, [20, 10, 30], seed=1)  # other places, other draws
    assert ran == ["10", "20"] and second[2] == first[2] and second[0] != first[1]
    assert len(mapped(draw, [10, 20, 30], seed=2)[2]) == 3
    for _ in range(2):  # a random seed does not come again
        assert len(mapped(draw, [10, 20, 30])[2]) == 3


def test_draws_of_code_that_does_not_show_it_are_noticed(mapped: Mapper) -> None:
    def draw(x: int) -> float:
        if x == 0:
            return 0.0
        return float(getattr(cloud, "r" + "ng")().normal())

    _, first, _ = mapped(draw, [0, 1, 2], seed=1)
    assert mapped(draw, [0, 1, 2], seed=1)[1:] == (first, [])
    assert mapped(draw, [0, 1, 2], seed=2)[2] == ["1", "2"]
    assert mapped(draw, [0, 1, 2])[2] == ["1", "2"]


# -- what is not to be trusted


@pytest.mark.parametrize("guard", ["warn", "off"])
def test_results_of_code_that_changes_what_it_captured_are_not_kept(
    mapped: Mapper, guard: str
) -> None:
    counter = [0]

    def count(x: int) -> int:
        counter[0] += 1
        return counter[0]

    job, _, _ = mapped(count, [1, 2, 3], guard=guard)
    assert any("are not kept" in line for line in job.progress.warnings)
    assert len(mapped(count, [1, 2, 3], guard=guard)[2]) == 3


def test_an_item_that_changed_before_it_was_sent_is_not_found_under_its_old_content(
    session: Session, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def read(item: list[int]) -> list[int]:
        import time

        until = time.monotonic() + 30
        while item[0] == 0 and not gate.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return list(item)

    options = JobOptions(cache=True, workers=1)
    items = [[0], *([n] for n in range(1, 300))]
    job = session.map(read, items, options=options)
    for item in items[1:]:
        item.append(9)  # while the first one runs
    gate.write_text("")
    results = job.results()
    again = session.map(read, [[0], *([n] for n in range(1, 300))], options=options)
    assert again.results()[0] == [0]
    for n, (was, now) in enumerate(zip(results[1:], again.results()[1:]), 1):
        assert now == [n], (was, now)


class Restless:
    """Is pickled differently each time."""

    def __reduce__(self) -> Any:
        return (str, (os.urandom(4).hex(),))


def test_items_that_cannot_be_compared_always_run_and_that_is_said(mapped: Mapper) -> None:
    for _ in range(2):
        job, _, ran = mapped(lambda x: 1, [Restless(), 5, Restless()])
        assert [line for line in ran if line != "5"] and len(ran) >= 2
        (line,) = job.progress.warnings
        assert "2 items always run" in line and "Restless" in line
    assert job.progress.cached == 1


def test_code_that_cannot_be_compared_runs_and_that_is_said(mapped: Mapper) -> None:
    restless = Restless()
    job, results, _ = mapped(lambda x: len(str(restless)) * x, [1, 2])
    assert results == [8, 16]
    assert any("code cannot be compared" in line for line in job.progress.warnings)


def test_items_that_come_one_by_one_are_refused(session: Session) -> None:
    with pytest.raises(UsageError, match=r"list\(items\)"):
        session.map(lambda x: x, iter([1, 2]), options=JobOptions(cache=True))


def test_executors_say_that_they_have_no_cache() -> None:
    with pytest.raises(UsageError, match=r"cloud\.map"):
        cloud.Executor(cache=True)


# -- files


def test_a_missing_or_damaged_file_is_a_miss_and_forgotten(
    mapped: Mapper, home: Path, session: Session
) -> None:
    job, _, _ = mapped(lambda x: x - 1, [1, 2, 3])
    (file,) = (home / "results").glob(f"{job.id}*.seg")
    os.utime(file, (1, 1))
    assert mapped(lambda x: x - 1, [1, 2, 3])[2] == []
    assert file.stat().st_mtime > 1  # the clean-up sees that it was used
    file.unlink()
    job, results, ran = mapped(lambda x: x - 1, [1, 2, 3])
    assert results == [0, 1, 2] and len(ran) == 3
    assert mapped(lambda x: x - 1, [1, 2, 3])[2] == []

    job, _, _ = mapped(lambda x: np.full(40_000, x), [0, 1, 2])
    assert mapped(lambda x: np.full(40_000, x), [0, 1, 2])[2] == []
    damaged = []
    for file in (home / "results").glob(f"{job.id}*.seg"):
        for record in records_in(file):
            if record.first <= 1 < record.first + record.count:
                damaged = [str(record.first + n) for n in range(record.count)]
                data = bytearray(file.read_bytes())
                data[record.offset + record.length - 20_000] ^= 1
                file.write_bytes(data)
    job, results, ran = mapped(lambda x: np.full(40_000, x), [0, 1, 2])
    assert ran == damaged and "1" in ran and [value[-1] for value in results] == [0, 1, 2]


def test_a_job_can_be_continued_though_some_of_its_results_are_another_jobs(
    session: Session, home: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def total(item: Any) -> float:
        import time

        until = time.monotonic() + 30
        while item[0] == 5 and not gate.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return float(item.sum())

    items = np.repeat(np.arange(6.0), 20_000).reshape(6, -1)  # its rows
    options = JobOptions(cache=True)
    session.map(total, items[:5], options=options).results()
    job = session.map(total, items, options=options)
    try:
        path = items_file(home, job.id)
        deadline = time.monotonic() + 30
        while not path.exists() or StoredItems(path, sealed_files.key(home)).total is None:
            assert time.monotonic() < deadline and not job.state.is_final
            time.sleep(0.02)
        assert job.progress.cached == 5
        assert StoredItems(path, sealed_files.key(home)).missing([(0, 6)]) == []
    finally:
        gate.write_text("")
    assert job.results() == [20_000.0 * n for n in range(6)]


def test_a_cache_that_is_damaged_is_said_to_be_and_the_job_runs(mapped: Mapper, home: Path) -> None:
    mapped(lambda x: x, [1])
    kept = (home / "cache.db").read_bytes()
    (home / "cache.db").write_bytes(b"no database" * 1000)
    try:
        job, results, ran = mapped(lambda x: x, [1])
        assert results == [1] and ran == ["1"]
        assert any("cache.db cannot be used" in line for line in job.progress.warnings)
    finally:
        (home / "cache.db").write_bytes(kept)
    assert mapped(lambda x: x, [1])[2] == []


def test_tidying_forgets_what_is_gone(mapped: Mapper, home: Path) -> None:
    from cloudbutton_backend.result_cache import remove_missing

    job, _, _ = mapped(lambda x: x / 2, [1, 2, 3])
    assert mapped(lambda x: x / 2, [1, 2, 3])[2] == []
    before = sqlite3.connect(home / "cache.db").execute("SELECT count(*) FROM entries").fetchone()
    for file in (home / "results").glob(f"{job.id}*.seg"):
        file.unlink()
    assert remove_missing(home) >= 1 and remove_missing(home) == 0
    after = sqlite3.connect(home / "cache.db").execute("SELECT count(*) FROM entries").fetchone()
    assert after[0] <= before[0] - 3
    assert remove_missing(home / "nowhere") == 0


# -- across processes

PROGRAM = """
import sys
from pathlib import Path
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session

class Point:
    def __init__(self, x):
        self.x = x

WORDS = {"one", "two", "three", "four"}

def work(item):
    return Point(item * len(WORDS)), sorted(WORDS)

if __name__ == "__main__":
    session = Session(Path(sys.argv[1]))
    items = [int(word) for word in sys.argv[2:]]
    job = session.map(work, items, options=JobOptions(cache=True))
    results = job.results()
    assert all(type(point) is Point and point.x == 4 * x for x, (point, _) in zip(items, results))
    print(job.progress.cached)
    session.close()
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}

    def start(*items: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(path), str(home), *map(str, items)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_fresh_process_finds_results_as_instances_of_its_own_classes(
    program: Callable[..., subprocess.Popen[str]],
) -> None:
    assert program(1, 2, 3).communicate(timeout=60)[0] == "0\n"
    assert program(1, 2, 3, 4).communicate(timeout=60)[0] == "3\n"


def test_two_kernels_may_write_at_once(program: Callable[..., subprocess.Popen[str]]) -> None:
    running = [program(*range(start, start + 40)) for start in (0, 20, 40)]
    for each in running:
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert program(*range(80)).communicate(timeout=60)[0] == "80\n"


def test_explain_shows_what_results_are_found_by(mapped: Mapper) -> None:
    job, _, _ = mapped(lambda x: np.sqrt(x) + cloud.rng().normal(), [1.0], seed=3)
    text = str(job.explain())
    for words in (
        "code and captured values",
        f"numpy {np.__version__}",
        "seed: 3",
        "not looked at",
        "generators without a seed, whose numbers come back as they were",
    ):
        assert words in text
    assert "found in the cache" in text
    assert "found in the cache" not in str(mapped(lambda x: x, [1], cache=False)[0].explain())
