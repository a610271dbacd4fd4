"""`%%cloud` and `%cloud` in a real shell, on real local workers."""

from __future__ import annotations

import linecache
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.session import session

Run = Callable[[str], Any]


@pytest.mark.parametrize(
    ("cell", "name", "expected"),
    [
        ("%%cloud map x in range(4) -> ys\nx * x", "ys", [0, 1, 4, 9]),
        ("%%cloud map x in range(4) if x % 2 -> ys\ny = x * 10\ny", "ys", [10, 30]),
        ("%%cloud map a, b in {1: 2, 3: 4}.items() -> ys\na + b", "ys", [3, 7]),
        ("%%cloud map x in 'ab' for y in range(2) -> ys\nx * y", "ys", ["", "a", "", "b"]),
        ("%%cloud map x in (i for i in range(3)) -> ys\nx", "ys", [0, 1, 2]),
        ("%%cloud map x in [] -> ys\nx", "ys", []),
        ("%%cloud map x in (i for i in ()) -> ys\nx", "ys", []),
        ("%%cloud map range(3) -> ys\ndef f(v):\n    return -v", "ys", [0, -1, -2]),
        ("%%cloud map x in range(2) -> ys\nx = x + 1\nx", "ys", [1, 2]),
        ("%%cloud map x in range(3) -> a, b\nx, -x", "b", [0, -1, -2]),
        ("%%cloud map x in range(2) -> ys --workers 1 --quiet\nx", "ys", [0, 1]),
        ("%%cloud run -> a\na = 6\nb = 7", "a", 6),
        ("%%cloud run\na = 6\nb = a * 7", "b", 42),
    ],
)
def test_results_are_in_the_variables_after(
    run: Run, shell: InteractiveShell, cell: str, name: str, expected: Any
) -> None:
    ran = run(cell)
    assert ran.error is None
    assert ran.value is None
    assert shell.user_ns[name] == expected


def test_without_an_arrow_the_results_are_the_cells_value(run: Run) -> None:
    assert run("%%cloud map x in range(3)\nx + 1").value == [1, 2, 3]
    assert run("%%cloud run\na = 2\na + 3").value == 5


def test_the_body_sees_the_notebooks_current_values(run: Run, shell: InteractiveShell) -> None:
    cell = "%%cloud map x in range(3) -> ys\ndef inner(v):\n    return helper(v) + k\ninner(x)"
    run("k = 1\ndef helper(v):\n    return v * 100")
    run(cell)
    assert shell.user_ns["ys"] == [1, 101, 201]
    run("k = 2\ndef helper(v):\n    return v")
    run(cell)
    assert shell.user_ns["ys"] == [2, 3, 4]


def test_the_function_of_a_cell_stays_defined(run: Run, shell: InteractiveShell) -> None:
    run("%%cloud map range(2) -> ys\ndef twice(v):\n    return 2 * v")
    assert shell.user_ns["twice"](4) == 8


def test_the_summary_is_one_line_in_a_log(run: Run) -> None:
    out = run("%%cloud map x in range(2) -> ys\nx").out
    (line,) = out.splitlines()
    assert line.startswith("ys: ✓ 2 items in ")
    assert "$" not in line


def test_a_quiet_cell_says_nothing(run: Run) -> None:
    ran = run("%%cloud map x in range(2) -> ys --quiet\nx")
    assert (ran.out, ran.err) == ("", "")


def test_printed_output_comes_back_in_item_order(run: Run) -> None:
    out = run("%%cloud map x in range(20) -> ys --quiet\nprint('item', x)").out
    assert out.splitlines() == [f"item {i}" for i in range(20)]


def test_a_body_without_a_value_gets_a_hint(run: Run, shell: InteractiveShell) -> None:
    ran = run("%%cloud map x in range(2) -> ys\ny = x")
    assert shell.user_ns["ys"] == [None, None]
    assert "the cell's last line is not an expression" in ran.out


def test_the_users_exception_keeps_its_type_and_shows_their_line_only(
    run: Run, shell: InteractiveShell
) -> None:
    shell.user_ns["ys"] = "before"
    ran = run("%%cloud map C in range(3) -> ys\nif C == 1:\n    raise ValueError(f'bad {C}')\nC")
    assert type(ran.error) is ValueError
    assert shell.user_ns["ys"] == "before", "assigned on success only"
    assert "of 3 items failed: ValueError: bad 1 (item 1: C=1)" in ran.out
    assert "%cloud retry" in ran.out
    assert "----> 3     raise ValueError(f'bad {C}')" in ran.out
    assert f"Cell In[{max(shell.compile._filename_map.values())}], line 3" in ran.out
    assert "cloudbutton" not in ran.out
    assert "run_cell_magic" not in ran.out
    pickle.dumps(ran.error)


def test_errors_can_be_kept_in_place(run: Run, shell: InteractiveShell) -> None:
    ran = run("%%cloud map x in [1, 0, 2] -> ys --errors keep\n2 / x")
    assert ran.error is None
    first, second, third = shell.user_ns["ys"]
    assert (first, third) == (2.0, 1.0)
    assert isinstance(second, ZeroDivisionError)
    assert "failed items are their exceptions in `ys`" in ran.out


def test_a_failed_item_can_be_retried_into_the_variable(
    run: Run, shell: InteractiveShell, tmp_path: Path
) -> None:
    shell.user_ns["flag"] = tmp_path / "flag"
    ran = run("%%cloud map x in range(3) -> ys\nassert x != 1 or flag.exists()\nx")
    assert isinstance(ran.error, AssertionError)
    (tmp_path / "flag").touch()
    job = session.current().jobs()[0]
    assert run(f"%cloud retry {job.id[:6]} -> ys").error is None
    assert shell.user_ns["ys"] == [0, 1, 2]


def test_retry_without_an_id_means_the_latest_job_that_lacks_something(
    run: Run, shell: InteractiveShell, tmp_path: Path
) -> None:
    shell.user_ns["flag"] = tmp_path / "flag"
    run("%%cloud map x in range(3) -> ys\nassert x != 1 or flag.exists()\nx")
    run("%%cloud map x in range(3) -> others\nx")
    (tmp_path / "flag").touch()
    assert run("%cloud retry -> ys").error is None
    assert shell.user_ns["ys"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%cloud map x on xs -> ys\nx", "Expected `in`"),
        ("%%cloud map x in [1] -> ys --wrokers 2\nx", "Did you mean `--workers`"),
        ("%%cloud map x in [1] --workers 0\nx", "one or more"),
        ("%%cloud map x in [1] --backend lokal\nx", "Did you mean `local`"),
        ("%%cloud map x in [1]\n!ls", "line 2: !ls"),
        ("%%cloud map x in [1] -> a, b\nx", "takes 2 values"),
        ("%%cloud mop x in [1]\nx", "Did you mean `map`"),
        ("%%cloud run -> q\na = 1", "does not assign `q`"),
        ("%cloud jbos", "Did you mean `jobs`"),
        ("%cloud map x in [1]", "two `%`"),
        ("%cloud show", "Which job"),
        ("%cloud show nosuchjob", "Unknown job `nosuchjob`"),
        ("%cloud cancel nosuchjob", "Unknown job `nosuchjob`"),
        ("%cloud use lokal", "Did you mean `local`"),
        ("%cloud use local workers", "SETTING=VALUE"),
        ("%cloud use local workers=0", "one or more"),
        ("%cloud use local colour=3", "colour"),
        ("%cloud use workers=3", "Name the backend first"),
        ("%cloud explain", "Explain what"),
        ("%cloud jobs all", "takes nothing"),
    ],
)
def test_mistakes_are_advice_without_a_traceback(run: Run, cell: str, words: str) -> None:
    ran = run(cell)
    assert isinstance(ran.error, CloudError)
    assert words in ran.out
    assert "Traceback" not in ran.out
    assert "cloudbutton_" not in ran.out


def test_a_syntax_error_of_the_body_looks_like_pythons(run: Run) -> None:
    ran = run("%%cloud map x in [1] -> ys\ny = = x")
    assert isinstance(ran.error, UsageError)
    assert "line 2" in ran.out
    assert "SyntaxError: invalid syntax" in ran.out
    assert "cloudbutton_" not in ran.out


def test_an_error_of_the_header_points_to_the_header(run: Run) -> None:
    ran = run("%%cloud map x in missing -> ys\nx")
    assert isinstance(ran.error, NameError)
    assert "----> 1 %%cloud map x in missing -> ys" in ran.out
    assert "cloudbutton_" not in ran.out


def test_a_dry_run_starts_nothing(run: Run, shell: InteractiveShell) -> None:
    before = len(session.current().jobs())
    run("data = list(range(10))")
    ran = run("%%cloud map x in range(5) -> ys --dry-run\nsum(data) + x")
    assert "5 items on local" in repr(ran.value)
    assert "data" in repr(ran.value)
    assert "ys" not in shell.user_ns
    assert len(session.current().jobs()) == before


def test_a_detached_job_is_bound_to_the_name(run: Run, shell: InteractiveShell) -> None:
    ran = run("%%cloud map x in range(3) -> ys --detach\nx * 2")
    assert "`ys` is the job" in repr(ran.value)
    assert shell.user_ns["ys"].results() == [0, 2, 4]


def _running_functions(thread: threading.Thread) -> set[str]:
    frame = sys._current_frames().get(thread.ident or 0)
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_ctrl_c_cancels_and_the_next_cell_works(
    run: Run, shell: InteractiveShell, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def interrupt_once_it_runs() -> None:
        gate.read_bytes()  # opens when a task has opened the other end
        deadline = time.monotonic() + 20
        while not {"follow", "wait"} <= _running_functions(threading.main_thread()):
            assert time.monotonic() < deadline, "the cell does not wait for its job"
        os.kill(os.getpid(), signal.SIGINT)

    shell.user_ns["gate"] = gate
    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    ran = run(
        "%%cloud map x in range(4) -> ys --workers 1\nimport threading\n"
        "gate.write_bytes(b'go')\nthreading.Event().wait(60)"
    )
    thread.join()
    assert isinstance(ran.error, KeyboardInterrupt)
    assert "◼ cancelled after 0 of 4 items" in ran.out
    assert "Traceback" not in ran.out
    assert "ys" not in shell.user_ns
    job = session.current().jobs()[0]
    assert job.wait(10)
    assert job.state is JobState.CANCELLED
    run("%%cloud map x in range(2) -> ys\nx")
    assert shell.user_ns["ys"] == [0, 1]


@pytest.mark.parametrize("magic", ["map x in range(4) -> ys", "run"])
def test_a_failed_job_of_another_kernel_shows_the_lines_of_its_cell(
    run: Run, monkeypatch: pytest.MonkeyPatch, magic: str
) -> None:
    run(f"%%cloud {magic}\nwrong = {{}}\nwrong['key']")
    job = session.current().jobs()[0]
    for name, entry in list(linecache.cache.items()):
        if name.startswith("<ipython-input") and "wrong['key']" in "".join(entry[2]):  # type: ignore[misc]
            monkeypatch.delitem(linecache.cache, name)  # another kernel does not have it
    ran = run(f"%cloud attach {job.id}")
    assert type(ran.error) is KeyError
    assert "----> 3 wrong['key']" in ran.out
    assert "Could not get source" not in ran.out


def test_line_commands_answer_with_tables(run: Run, shell: InteractiveShell) -> None:
    run("%%cloud map x in range(2) -> mine\nx")
    job = session.current().jobs()[0]
    assert "%cloud retry [ID] [--budget DOLLARS] [-> NAME]" in repr(run("%cloud").value)
    assert run(f"%cloud show {job.id}").value is job
    assert run(f"job = %cloud show {job.id}").error is None
    assert shell.user_ns["job"] is job
    assert "already ended (done)" in repr(run(f"%cloud cancel {job.id}").value)
    assert "`local`" in repr(run("%cloud use").value)
    assert "this call" not in repr(run("%cloud config").value)
    assert "Python" in repr(run("%cloud doctor").value)
    run("k = 3\ndef f(v):\n    return v + k")
    assert "k" in repr(run("%cloud explain f").value)
    assert "travels" in repr(run(f"%cloud explain {job.id}").value)
    assert "%cloud use" in repr(run("%cloud use --help").value)


def test_jobs_of_the_journal_are_listed(run: Run) -> None:
    run("%%cloud map x in range(2) -> mine --name listed\nx")
    job = session.current().jobs()[0]
    listing = repr(run("%cloud jobs").value)
    (line,) = [line for line in listing.splitlines() if job.id in line]
    assert line.split()[:4] == [job.id, "listed", "done", "2/2"]
    assert line.endswith("this kernel")


def test_help_tells_the_forms_and_the_options(shell: InteractiveShell) -> None:
    help_text = str(shell.find_cell_magic("cloud").__doc__)
    for needed in ("%%cloud map TARGET in ITERABLE", "--backend", "--errors raise|keep"):
        assert needed in help_text
