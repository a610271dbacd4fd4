"""A cell whose kernel was killed runs again in a new one, without what its loops had finished."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import JobRow, JournalReader
from cloudbutton_magic.commands.attach_button_cell import remaining_budget

KERNEL = Path(__file__).with_name("kernel.py")
PATIENCE = 60.0

ABOVE = """
import os, time
from pathlib import Path
WORDS = {"one", "two", "three"}
class Point:
    def __init__(self, x):
        self.x = x
def wait_for_gate(x):
    until = time.monotonic() + 50
    while x >= int(Path(stop_at).read_text()) and not os.path.exists(gate) and time.monotonic() < until:
        time.sleep(0.01)
def work(x):
    wait_for_gate(x)
    Path(log, f"{x}-{time.time_ns()}").touch()
    print("item", x)
    return Point(x * len(WORDS))
"""

CELL = """%%cloud --force
points = []
total = 0
for x in range(40):
    point = work(x)
    total += point.x
    points.append(point)
doubled = [2 * p.x for p in points]
"""

CHECK = """
assert [type(p) is Point and p.x == 3 * n for n, p in enumerate(points)] == [True] * 40
assert total == 3 * sum(range(40)) and doubled == [6 * n for n in range(40)]
assert (x, point.x) == (39, 117)
"""


@dataclass
class Kernels:
    """Kernels that share a home, and what their items wrote down."""

    home: Path
    folder: Path

    def start(self, *cells: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "CLOUDBUTTON_HOME": str(self.home),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, str(KERNEL), json.dumps(cells)]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, *cells: str) -> list[dict[str, str]]:
        """Run cells in a kernel of their own; return what became of each."""
        out, _ = self.start(*cells).communicate(timeout=PATIENCE)
        return [json.loads(line) for line in out.splitlines()]

    def settings(self, stop_at: int = 1000) -> str:
        """Have items from `stop_at` on wait until the gate is opened; return a cell with the paths."""
        stop = self.folder / "stop"
        stop.write_text(str(stop_at))
        return f"gate, log, stop_at = {str(self.gate)!r}, {str(self.log)!r}, {str(stop)!r}"

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def ran(self) -> list[int]:
        """The items that ran so far, in whichever kernel."""
        return [int(path.name.partition("-")[0]) for path in self.log.iterdir()]

    def jobs(self) -> list[JobRow]:
        return JournalReader(self.home).jobs()

    def kill_when(self, is_time: Callable[[], bool], *cells: str) -> None:
        """Run cells in a kernel that is killed when it is time to."""
        kernel = self.start(*cells)
        try:
            until(lambda: is_time() or kernel.poll() is not None)
            ended = kernel.poll()
        finally:
            kernel.send_signal(signal.SIGKILL)
            said, _ = kernel.communicate(timeout=PATIENCE)
        assert ended is None, said
        until(lambda: all(job.state is not JobState.RUNNING for job in self.jobs()))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[Kernels]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "log").mkdir()
    yield Kernels(home, tmp_path)
    (tmp_path / "gate").write_text("")


def has_keys(kernels: Kernels, items: int, count: int = 1) -> bool:
    """Whether that many items ran, and what the loop is has been written down."""
    return len(kernels.ran) >= items and len(list(kernels.home.glob("jobs/*.keys"))) >= count


def attached(kernels: Kernels, *names: str, before: Sequence[str] = ()) -> list[dict[str, str]]:
    """Attach to the latest job of that name in a new kernel, and check the cell's names."""
    job = next(job for job in kernels.jobs() if not names or job.name in names)
    kernels.gate.write_text("")
    cells = (kernels.settings(), *(before or (ABOVE,)), attach(job), CHECK)
    return kernels.run(*cells)


def attach(job: JobRow) -> str:
    return f"%cloud attach {job.id}"


def test_finished_items_are_taken_over_and_the_rest_runs(kernels: Kernels) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    ran = len(kernels.ran)
    assert 10 <= ran < 40
    said = attached(kernels)
    assert [each["error"] for each in said] == [None] * 4, said
    assert sorted(set(kernels.ran)) == list(range(40))
    assert len(kernels.ran) <= 40 + 4  # those that had not been reported in time
    assert "taken over, not run again" in said[2]["out"] and "done before" in said[2]["out"]
    shown = [line for line in said[2]["out"].splitlines() if line.startswith("item ")]
    assert shown == [f"item {n}" for n in range(40)]


ITEMS_CHANGE = """%%cloud --force
left = []
for row in rows:
    work(row[0])
    row[0] += 1
    left.append(row[0])
"""


def test_items_that_the_loop_changed_before_they_were_looked_at_run_again(kernels: Kernels) -> None:
    above = ABOVE + "rows = [[n] for n in range(40)]\n"
    kernels.kill_when(
        lambda: has_keys(kernels, 20), kernels.settings(stop_at=20), above, ITEMS_CHANGE
    )
    kernels.gate.write_text("")
    (job,) = kernels.jobs()
    check = "assert left == list(range(1, 41)) and rows == [[n] for n in left], left"
    said = kernels.run(kernels.settings(), above, attach(job), check)
    assert [each["error"] for each in said] == [None] * 4, said


def test_a_cell_that_had_ended_when_its_kernel_was_killed_is_taken_over(kernels: Kernels) -> None:
    slow = ABOVE.replace("def work(x):", "def work(x):\n    time.sleep(0.12)")
    over = f"open({str(kernels.folder / 'over')!r}, 'x').close(); time.sleep(60)"
    kernels.kill_when((kernels.folder / "over").exists, kernels.settings(), slow, CELL, over)
    assert len(kernels.ran) == 40
    said = attached(kernels, before=[slow])
    assert [each["error"] for each in said] == [None] * 4, said
    assert "40 items of job" in said[2]["out"], said
    assert len(kernels.ran) == 40


def test_code_that_is_another_one_now_runs_again_and_that_is_said(kernels: Kernels) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    before = len(kernels.ran)
    said = attached(kernels, before=[ABOVE.replace("Point(x", "Point(0 + x")])
    assert [each["error"] for each in said] == [None] * 4, said
    assert len(kernels.ran) - before == 40
    assert "its code, or a value that it uses, is another one now" in said[2]["out"]


@pytest.mark.parametrize(
    ("habit", "changed"),
    [
        ("warnings.filterwarnings('ignore', category=ImportWarning, module='nothing')", None),
        ("decimal.Decimal(1) / 3", None),
        ("import pandas; pandas.set_option('display.precision', 3)", None),
        ("import numpy, sklearn; numpy.seterr(all='raise')", None),
        (
            "warnings.filterwarnings('error', category=ImportWarning, module='nothing')",
            "the filters of warnings",
        ),
        ("decimal.getcontext().prec = 5", "the context of `decimal`"),
    ],
)
def test_what_other_imports_leave_behind_makes_no_difference_and_what_decides_results_does(
    kernels: Kernels, habit: str, changed: str | None
) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    said = attached(kernels, before=[f"{ABOVE}\nimport decimal, warnings\n{habit}"])
    assert [each["error"] for each in said] == [None] * 4, said
    assert ("taken over, not run again" in said[2]["out"]) is (changed is None), said
    assert changed is None or f"{changed} changed" in said[2]["out"]


def test_a_cell_of_emulated_workers_runs_elsewhere_only_when_asked(kernels: Kernels) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    (job,) = kernels.jobs()
    with closing(sqlite3.connect(kernels.home / "journal.db")) as journal, journal:
        journal.execute("UPDATE jobs SET emulated = 1")
    ran = len(kernels.ran)
    kernels.gate.write_text("")
    said = kernels.run(kernels.settings(), ABOVE, attach(job))
    assert "ran on local (emulated), and `local` is local" in said[2]["error"]
    assert len(kernels.ran) == ran
    said = kernels.run(kernels.settings(), ABOVE, attach(job) + " --backend local", CHECK)
    assert [each["error"] for each in said] == [None] * 4, said


def test_a_name_from_the_cells_above_that_is_missing_is_asked_for(kernels: Kernels) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    kernels.gate.write_text("")
    job = kernels.jobs()[0]
    said = kernels.run(
        "log = gate = 'x'", attach(job), kernels.settings(), ABOVE, attach(job), CHECK
    )
    assert "uses `work`, which is not defined" in said[1]["error"]
    assert "Run the cells above it first" in said[1]["error"]
    assert said[-1]["error"] is None, said


TWO_LOOPS = """%%cloud --force
first = []
for x in range(24):
    first.append(work(x))
second = []
for y in range(100, 124):
    second.append(work(y).x + len(first))
"""


def test_loops_that_had_ended_are_taken_over_as_a_whole_again_and_again(kernels: Kernels) -> None:
    slow = ABOVE.replace("def work(x):", "def work(x):\n    time.sleep(0.15)")
    assert slow != ABOVE
    check = (
        "assert [p.x for p in first] == [3 * n for n in range(24)]\n"
        "assert second == [3 * n + 24 for n in range(100, 124)]"
    )
    kernels.kill_when(
        lambda: has_keys(kernels, 30, count=2), kernels.settings(stop_at=112), slow, TWO_LOOPS
    )
    job = kernels.jobs()[0]
    ran = len(kernels.ran)
    assert job.name.startswith("for y in range(100") and 30 <= ran < 48
    # The second kernel dies, too: the third one takes over from both.
    kernels.kill_when(
        lambda: (
            len(kernels.jobs()) == 4 and len(kernels.ran) >= ran + 2 and kernels.jobs()[0].done >= 8
        ),
        kernels.settings(stop_at=116),
        slow,
        attach(job),
    )
    last = kernels.jobs()[0]
    assert last.id != job.id
    kernels.gate.write_text("")
    said = kernels.run(kernels.settings(), slow, attach(last), check)
    assert [each["error"] for each in said] == [None] * 4, said
    assert sorted(set(kernels.ran)) == [*range(24), *range(100, 124)]
    assert len(kernels.ran) <= 48 + 12


@pytest.mark.parametrize("command", ["attach", "retry"])
def test_a_cell_that_failed_goes_on_in_the_same_kernel(kernels: Kernels, command: str) -> None:
    kernels.gate.write_text("")
    fails = "time.sleep(0.12)\n    assert x != 30 or os.path.exists(log + '.ok')"
    say = f"get_ipython().run_line_magic('cloud', '{command} ' + session.current().jobs()[0].id)"
    said = kernels.run(
        kernels.settings(),
        ABOVE.replace("def work(x):", f"def work(x):\n    {fails}"),
        CELL,
        "assert len(points) == 30; open(log + '.ok', 'x').close()",
        "from cloudbutton_backend.session import session",
        say,
        CHECK,
    )
    assert [each["error"] for each in said] == [None, None, "AssertionError()", *[None] * 4], said
    assert "taken over, not run again" in said[5]["out"]
    assert sorted(set(kernels.ran)) == list(range(40))
    assert len(kernels.ran) <= 40 + 4


def test_a_cell_has_names_of_its_own(kernels: Kernels) -> None:
    kernels.kill_when(lambda: has_keys(kernels, 10), kernels.settings(stop_at=20), ABOVE, CELL)
    (job,) = kernels.jobs()
    (said,) = kernels.run(attach(job) + " -> mine")
    assert "sets names of its own" in said["error"] and "without `-> mine`" in said["error"]


@pytest.mark.parametrize(
    ("own", "override", "left"),
    [
        (None, None, None),
        (1.0, None, 0.7),
        (0.2, None, 0.0),
        (1.0, "+1.00", 1.7),
        (None, "+1", 1.0),
        (None, "2.00", 1.7),
        (5.0, "0.5", 0.2),
    ],
)
def test_a_budget_is_for_all_that_the_cell_spends(
    own: float | None, override: str | None, left: float | None
) -> None:
    now = time.time()
    rows = [
        JobRow(
            id=f"job{n}", name="", kind="button", backend="lambda", n_items=1, created=now, pid=1,
            host="", state=JobState.LOST, spend=0.1, committed=0.05,
        )
        for n in range(2)
    ]  # fmt: skip
    assert remaining_budget(own, override, rows) == pytest.approx(left)
