"""The button pressed on ordinary cells, in a real shell on real workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell

from cloudbutton_backend.errors import TaskTimeout, UsageError, WorkerLost
from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.session import session

Run = Callable[[str], Any]

CELLS = [
    "xs = [i * i for i in range(10)]\ntotal = sum(xs)",
    "scores = {}\nfor C in range(8):\n    twice = C * 2\n    scores[C] = twice\nbest = max(scores)",
    "state = 0\nfor i in range(5):\n    state = state * 2 + i",
    "ys = []\nfor a, b in zip('abc', range(3)):\n    if b == 1:\n        continue\n    ys.append(a * b)",
    "x = 3",
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", ["", " --force"])
def test_the_namespace_is_what_the_plain_cell_leaves(
    run: Run, shell: InteractiveShell, cell: str, options: str
) -> None:
    plain: dict[str, Any] = {}
    exec(cell, plain)
    assert run(f"%%cloud{options}\n{cell}").error is None
    for name, value in plain.items():
        if name != "__builtins__":
            assert shell.user_ns[name] == value
            assert type(shell.user_ns[name]) is type(value)


def test_a_forced_loop_is_a_job_of_the_session(run: Run) -> None:
    ran = run("%%cloud --force\nxs = [i * i for i in range(10)]\nlen(xs)")
    job = session.current().jobs()[0]
    assert job.record.kind == "button"
    assert ran.value == 10, "shown by the display hook, as the plain cell's would be"
    assert f"✓ {job.n_items} items" in ran.out


def test_why_a_loop_ran_here_is_said(run: Run) -> None:
    out = run("%%cloud\nstate = 0\nfor i in range(5):\n    state = state * 2 + i").out
    assert "line 4 reads `state`, which the previous iteration wrote" in out


def test_an_error_is_raised_on_the_users_line(run: Run, shell: InteractiveShell) -> None:
    ran = run(
        "%%cloud --force\nys = []\nfor i in range(9):\n    if i == 6:\n"
        "        raise KeyError(i)\n    ys.append(i)"
    )
    assert type(ran.error) is KeyError
    assert "----> 5         raise KeyError(i)" in ran.out
    assert "cloudbutton_" not in ran.out
    assert shell.user_ns["ys"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "loop",
    [
        "ys = [f(i) for i in range(9)]",
        "ys = {f(i) for i in range(9)}",
        "ys = {i: f(i) for i in range(9)}",
        "ys = sum(f(i) for i in range(9))",
        "def g():\n    return [f(i) for i in range(9)]\ng()",
        "for i in range(9):\n    f(i)",
    ],
)
def test_between_the_users_frames_are_none_of_ours(run: Run, loop: str) -> None:
    assert run("def f(i):\n    return 1 // (6 - i)").error is None
    ran = run(f"%%cloud --force\n{loop}")
    assert type(ran.error) is ZeroDivisionError
    assert "----> 2     return 1 // (6 - i)" in ran.out
    assert "cloudbutton_" not in ran.out and "__cb_" not in ran.out


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%cloud --detach\nx = 1", "--detach"),
        ("%%cloud --errors keep\nx = 1", "--errors keep"),
    ],
)
def test_what_the_button_cannot_do_is_refused(run: Run, cell: str, words: str) -> None:
    ran = run(cell)
    assert isinstance(ran.error, UsageError)
    assert words in ran.out
    assert "cloudbutton_" not in ran.out


def test_a_dry_run_runs_nothing(run: Run, shell: InteractiveShell) -> None:
    ran = run("%%cloud --dry-run\nnew = [i for i in range(3)]")
    assert "line 2" in repr(ran.value)
    assert "new" not in shell.user_ns


@pytest.mark.parametrize("value", ["code", "(code, shared)"])
def test_code_made_by_a_loop_keeps_its_file(run: Run, shell: InteractiveShell, value: str) -> None:
    run("shared = [1]")
    run(f"%%cloud --force\nmade = []\nfor n in range(4):\n"
        f"    code = compile('1 / 0', f'{{n}}.py', 'eval')\n    made.append({value})")  # fmt: skip
    run("files = [(each[0] if type(each) is tuple else each).co_filename for each in made]")
    assert shell.user_ns["files"] == ["0.py", "1.py", "2.py", "3.py"]


LOOP = "made = []\nfor i in range(6):\n    made.append(i * width)"


def test_a_dry_run_shows_the_plan_what_travels_and_that_nothing_is_known_yet(run: Run) -> None:
    run("width = 3")
    shown = repr(run(f"%%cloud --dry-run\n{LOOP}").value)
    assert "1 loop could run in parallel on local" in shown
    assert "cloud.map(work, range(6))" in shown
    assert "width  int" in shown
    assert "No estimate yet" in shown and "it costs nothing" in shown


def test_a_dry_run_of_a_cell_that_ran_before_estimates_from_that(run: Run) -> None:
    run("width = 4")
    run(f"%%cloud --force\n{LOOP}  # again")
    shown = repr(run(f"%%cloud --dry-run\n{LOOP}  # again").value)
    assert "Last time, for i in range(6): 6 items" in shown


def test_a_failed_item_is_named_as_the_user_knows_it(run: Run) -> None:
    out = run("%%cloud --force\nzs = [1 // (3 - i) for i in range(9)]").out
    assert "(item 3: 3)" in out


def test_random_numbers_of_ones_own_per_item_are_independent(run: Run) -> None:
    run("import cloudbutton_ext as cloud")
    ran = run("%%cloud --force\ndraws = [cloud.rng().random() for _ in range(8)]\nlen(set(draws))")
    assert ran.value == 8 and "✓ 8 items" in ran.out


def test_warnings_and_tracebacks_of_tasks_show_the_users_lines(run: Run) -> None:
    run("import traceback, warnings\nwarnings.simplefilter('default')")
    run("def low(i):\n    warnings.warn('careful', stacklevel=2)\n    return 1 / i")
    ran = run(
        "%%cloud --force\nfor i in range(2):\n    try:\n        low(i)  # here\n"
        "    except ZeroDivisionError:\n        print(traceback.format_exc())"
    )
    assert ":4: UserWarning: careful\n  low(i)  # here\n" in ran.err
    assert "    low(i)  # here\n" in ran.out
    assert "    return 1 / i\n" in ran.out


def test_a_short_loop_is_not_mentioned_beside_one_that_was_sent(run: Run) -> None:
    out = run(
        "%%cloud --force --quiet\na = [i for i in range(4)]\nfor i in range(2):\n    b = i"
    ).out
    assert "ran here" not in out


def test_a_loop_whose_body_cannot_travel_runs_here_and_says_why(
    run: Run, shell: InteractiveShell
) -> None:
    run("import threading\nlock = threading.Lock()\nout = []")
    ran = run(
        "%%cloud --force\nfor i in range(4):\n    with lock:\n        y = i * 2\n    out.append(y)"
    )
    assert ran.error is None
    assert shell.user_ns["out"] == [0, 2, 4, 6]
    assert "line 2: ran here, because `lock` is a lock" in ran.out
    assert "Task" not in ran.out
    assert "twice" not in ran.out, "nothing was sent"


@pytest.mark.parametrize(
    ("options", "trouble", "error"),
    [
        # Workers alone are started without `site`: the test itself survives.
        (
            "",
            "sys.flags.no_site and np.lib.stride_tricks.as_strided(ones, (1 << 40,)).sum()",
            WorkerLost,
        ),
        ("--timeout 0.3", "time.sleep(5)", TaskTimeout),
    ],
)
def test_an_item_that_could_take_the_kernel_with_it_is_not_run_here(
    run: Run, shell: InteractiveShell, options: str, trouble: str, error: type[Exception]
) -> None:
    run("import sys, time\nimport numpy as np\nones, out = np.ones(1), []")
    ran = run(
        f"%%cloud --force {options}\nfor i in range(4):\n    if i == 2:\n        {trouble}\n"
        "    out.append(i)"
    )
    assert type(ran.error) is error
    assert shell.user_ns["out"] == [0, 1][: len(shell.user_ns["out"])]
    assert session.current().jobs()[0].state is JobState.FAILED


def test_each_loop_of_a_cell_keeps_its_summary(
    run: Run, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "display_pub", published)
    monkeypatch.setenv("CLOUDBUTTON_VIEW", "html")
    run("%%cloud --force\nxs = [i for i in range(3)]\nys = [i for i in range(5)]")
    places = {out["transient"]["display_id"]: out["data"] for out in published.outputs}
    first, second = (data["text/plain"] for data in places.values())
    assert "✓ 3 items" in first and "✓ 5 items" in second


@pytest.mark.parametrize("trouble", ["raise KeyboardInterrupt", "1 / 0"])
def test_a_cell_that_did_not_end_says_what_goes_on_with_what_is_done(
    run: Run, shell: InteractiveShell, trouble: str
) -> None:
    cell = f"%%cloud --force{{}}\nxs = [i for i in range(6)]\nif again is False:\n    {trouble}"
    run("again = False")
    out = run(cell.format("")).out
    job = session.current().jobs()[0]
    assert f"`%cloud retry {job.id}` runs the cell again" in out
    assert f"`%cloud attach {job.id}`" in out
    run("again, xs = True, None")
    assert run(f"%cloud retry {job.id}").error is None
    assert shell.user_ns["xs"] == list(range(6))
    run("again = False")
    assert "%cloud retry" not in run(cell.format(" --quiet")).out


def test_a_cell_of_which_nothing_is_done_does_not_speak_of_going_on(run: Run) -> None:
    assert "%cloud retry" not in run("%%cloud --force\n1 / 0\nxs = [i for i in range(6)]").out


def test_output_left_out_is_told_by_its_size(run: Run) -> None:
    out = run("%%cloud --force\nfor i in range(4):\n    print('x' * 300_000)").out
    assert " kB of output left out" in out
    assert "`job" not in out


def test_a_reason_is_told_once_for_a_line(run: Run) -> None:
    out = run(
        "%%cloud --force\nstate = 0\nfor a in range(3):\n    for b in range(3):\n"
        "        state = state * 2 + b"
    ).out
    told = [line for line in out.splitlines() if "line 5 reads `state`" in line]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        (
            "ys = list(map(work, xs))",
            "`list(map(work, xs))` can be written as `[work(x) for x in xs]`",
        ),
        ("i = 0\nwhile i < 2:\n    i += work(1)", "this cell has none\n"),
        ("s = pd.Series(xs).apply(work)", "as `[work(x) for x in pd.Series(xs)]`"),
        ("s = df.apply(lambda row: work(1), axis=1)", "as `[f(row) for _, row in df.iterrows()]`"),
        ("s = df.groupby('a').apply(work)", "as `[work(group) for _, group in df.groupby('a')]`"),
        ("def f():\n    return [work(x) for x in xs]\nf(), f()", "are inside functions"),
    ],
)
def test_a_cell_with_nothing_to_send_says_what_is_looked_at(
    run: Run, cell: str, advice: str
) -> None:
    run(
        "import time, pandas as pd\nxs = [1, 2]\ndf = pd.DataFrame({'a': [1, 2]})\n"
        "def work(x):\n    time.sleep(0.06)\n    return 1"
    )
    out = run(f"%%cloud\n{cell}").out
    assert "☁ ran here: `%%cloud` looks at `for` loops and comprehensions; " in out
    assert advice in out


@pytest.mark.parametrize("cell", ["xs = list(map(str, range(9)))", "xs = [i for i in range(9)]"])
def test_a_quick_cell_is_left_without_a_word(run: Run, cell: str) -> None:
    assert run(f"%%cloud\n{cell}").out == ""


def test_the_list_that_a_method_gives_is_walked_ahead(run: Run, shell: InteractiveShell) -> None:
    run("import numpy as np\nss = np.random.SeedSequence(7)")
    ran = run(
        "%%cloud --force\nmade = []\nfor child in ss.spawn(4):\n"
        "    made.append(np.random.default_rng(child).random())"
    )
    assert "✓ 4 items" in ran.out
    children = np.random.SeedSequence(7).spawn(4)
    assert shell.user_ns["made"] == [np.random.default_rng(child).random() for child in children]


def test_what_a_method_yields_is_not_walked_ahead(run: Run, shell: InteractiveShell) -> None:
    run("class Reader:\n    at = 0\n    def rows(self):\n        while self.at < 4:\n"
        "            self.at += 1\n            yield self.at\nreader = Reader()")  # fmt: skip
    out = run("%%cloud --force\nplaces = [row * reader.at for row in reader.rows()]").out
    assert "ran here" in out
    assert shell.user_ns["places"] == [1, 4, 9, 16]


def test_imports_from_the_future_of_earlier_cells_hold(run: Run, shell: InteractiveShell) -> None:
    flags = shell.compile.flags
    try:
        run("from __future__ import annotations")
        assert run("%%cloud\ndef later(x: not_defined): return x").error is None
    finally:
        shell.compile.flags = flags


@pytest.mark.parametrize("shown", ["all", "last", "last_expr", "last_expr_or_assign", "none"])
@pytest.mark.parametrize(
    "last", ["2 + 3", "b = 6", "b += 7", "b: int = 8", "a, b = 9, 10", "if a: 11"]
)
def test_the_values_shown_are_those_of_the_plain_cell(
    run: Run, shell: InteractiveShell, shown: str, last: str
) -> None:
    cell = f"a = b = 1\n'first'\n[i for i in range(3)]\n{last}"
    shell.ast_node_interactivity = shown
    try:
        plain, ours = run(cell), run(f"%%cloud\n{cell}")
    finally:
        shell.ast_node_interactivity = "last_expr"
    assert [ours.error, plain.error] == [None, None]
    assert re.sub(r"\d+\]", "N]", ours.out) == re.sub(r"\d+\]", "N]", plain.out)
