"""The button on cells of a real kernel, by the metadata that JupyterLab sends along or by `%%cloud`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudbutton_magic.kernel import front_end_api

from .kernels import ROOT, Kernel, environment, started

ON = {"on": True}
PRESSED_OR_TYPED = pytest.mark.parametrize("button", ["#", "%%cloud --force"])
LOOP = "import time\nys = []\nfor i in range(40):\n    time.sleep(0.05)\n    ys.append(i * i)"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("kernel")
    with started(home, environment(home)) as kernel:
        answer = kernel.ask("prepare", choice=ON, cell_id="first")
        assert answer["data"]["application/json"]["protocol"] == 1
        yield kernel


def _jobs(kernel: Kernel) -> list[dict[str, Any]]:
    return list(
        kernel.value(
            "[dict(cell=j.record.cell_id, source=j.record.source, items=j.n_items, kind=j.record.kind)"
            " for j in __import__('cloudbutton_backend.session.session', fromlist=['x']).current().jobs()]"
        )
    )


def test_a_pressed_cell_runs_as_a_job_and_leaves_what_the_plain_cell_leaves(kernel: Kernel) -> None:
    ran = kernel.run(f"{LOOP}\nlen(ys)", cell_id="a", choice=ON)
    assert ran.is_ok, ran.traceback
    assert ran.result == "40"
    assert kernel.value("ys") == [i * i for i in range(40)]
    job = _jobs(kernel)[0]
    assert job["cell"] == "a"
    assert job["kind"] == "button"
    assert job["source"] == f"%%cloud\n{LOOP}\nlen(ys)"


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "no choice"),
        ({"choice": {"on": False}}, "off"),
        ({"choice": {"on": "yes"}}, "not what we write"),
        ({"choice": {"backend": "local"}}, "options without the choice"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_cell_that_is_not_on_runs_plainly(
    kernel: Kernel, metadata: dict[str, Any], why: str
) -> None:
    before = len(_jobs(kernel))
    assert kernel.run(LOOP, cell_id="b", **metadata).is_ok
    assert len(_jobs(kernel)) == before, why


def test_the_history_keeps_the_users_own_text(kernel: Kernel) -> None:
    text = "zs = [i for i in range(3)]"
    kernel.run(text, cell_id="c", choice=ON)
    assert kernel.value("In[-1].strip()") == text
    assert kernel.value("get_ipython().history_manager.input_hist_raw[-1]") == text


def test_nothing_of_ours_stays_in_the_users_namespace(kernel: Kernel) -> None:
    kernel.run("xs = [1]", cell_id="d", choice=ON)
    names = kernel.value("sorted(globals())")
    assert [name for name in names if "cloud" in name or name.startswith("__cb")] == []


def test_options_of_the_metadata_are_those_of_the_job(kernel: Kernel) -> None:
    choice = {"on": True, "backend": "local", "workers": 2, "budget": 0.5}
    assert kernel.run(LOOP, cell_id="e", choice=choice).is_ok
    source = _jobs(kernel)[0]["source"]
    assert source.startswith("%%cloud --backend local --budget 0.5 --workers 2\n")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"backend": "lamda"}, ["lamda", "local"]),
        ({"budget": "much"}, ["much"]),
        ({"speed": 9}, ["`speed`", "backend, budget, workers"]),
        ({"backend": "local --quiet"}, ["local --quiet"]),
    ],
)
def test_a_choice_that_makes_no_sense_is_an_error_of_the_cell(
    kernel: Kernel, choice: dict[str, Any], words: list[str]
) -> None:
    ran = kernel.run("never = 1", cell_id="f", choice={"on": True, **choice})
    assert not ran.is_ok
    assert [word for word in words if word not in ran.traceback] == []
    assert kernel.value("'never' in globals()") is False


@pytest.mark.parametrize(
    "cell",
    [
        "a = 1\nb = = 2",
        "return 1",
        "def f():\n  x\n y",
        "a = 1\nwith open('nowhere', 'rb') as f:\n    a = 2\n",
        "ys = []\nfor i in range(3):\n    ys.append(1 / (i - 2))",
        "\n\n1 / 0",
        "%no_such_magic",
        "raise SystemExit",
    ],
)
@PRESSED_OR_TYPED
def test_errors_are_reported_as_the_plain_cell_reports_them(
    kernel: Kernel, button: str, cell: str
) -> None:
    plain = kernel.run(f"#\n{cell}", cell_id="g")
    pressed = kernel.run(f"{button}\n{cell}", cell_id="g", choice=ON)
    assert pressed.reply["ename"] == plain.reply["ename"]
    assert _without_file(pressed.reply["evalue"]) == _without_file(plain.reply["evalue"])
    assert _lines_of_error(pressed.traceback) == _lines_of_error(plain.traceback)


@PRESSED_OR_TYPED
@pytest.mark.parametrize(
    "cell",
    [
        "xs = [i for i in range(4)]\nxs",
        "xs = [i for i in range(4)]\nxs;",
        "xs = [i for i in range(4)]\nxs;  # quiet",
        "state = 1\nfor i in range(4):\n    state = state * 2 + i\nstate;",
        "5;\nfor _ in range(3):\n    pass\n_",
        "sum(i for i in range(4)); 'last'",
    ],
)
def test_what_a_cell_shows_and_keeps_of_its_value_is_what_the_plain_cell_does(
    kernel: Kernel, button: str, cell: str
) -> None:
    def shown(first: str) -> tuple[Any, ...]:
        kernel.run("globals().pop('_', None)")
        for before in ("'one'", "'two'", "'three'"):
            kernel.run(before)
        ran = kernel.run(f"{first}\n{cell}", cell_id="v", choice=None if first == "#" else ON)
        assert ran.is_ok, ran.traceback
        return ran.result, kernel.value(
            "[repr(_), repr(__), repr(___), repr(list(Out.values())[-1])]"
        )

    assert shown(button) == shown("#")


def test_a_cell_that_awaits_runs_as_ipython_runs_it_and_says_so(kernel: Kernel) -> None:
    ran = kernel.run("%%cloud\nimport asyncio\nws = [await asyncio.sleep(0, i) for i in range(3)]")
    assert ran.is_ok, ran.traceback
    assert ran.text.strip() == "☁ ran here, as the plain cell: it uses `await` at its top level"
    assert kernel.value("ws") == [0, 1, 2]


def _without_file(message: str) -> str:
    """Return a message without the digest of the cell's text in its file's name."""
    return re.sub(r"\d+\.py", "cell.py", message)


def _lines_of_error(traceback: str) -> list[str]:
    """Return what a traceback shows of the user's last line, and the lines around it."""
    shown = re.sub(r"In\[\d+\]", "In[n]", traceback).splitlines()
    arrows = [n for n, line in enumerate(shown) if line.startswith("-") and "> " in line]
    return shown[arrows[-1] :] if arrows else shown


def test_an_error_in_a_worker_shows_the_users_line(kernel: Kernel) -> None:
    cell = (
        "import time\nys = []\nfor i in range(40):\n    time.sleep(0.02)\n"
        "    if i == 33:\n        raise KeyError(i)\n    ys.append(i)"
    )
    ran = kernel.run(cell, cell_id="h", choice=ON)
    assert ran.reply["ename"] == "KeyError"
    assert "----> 6     raise KeyError(i)" in ran.traceback
    assert "cloudbutton_" not in ran.traceback
    assert kernel.value("ys") == list(range(33))


@pytest.mark.parametrize(
    ("cell", "note"),
    [
        ("%%time\nws = [i for i in range(3)]", "`%%time` has it"),
        ("import asyncio\nawait asyncio.sleep(0)\nws = [0, 1, 2]", "`await`"),
    ],
)
def test_what_the_button_leaves_alone_runs_plainly_with_one_line(
    kernel: Kernel, cell: str, note: str
) -> None:
    ran = kernel.run(cell, cell_id="i", choice=ON)
    assert ran.is_ok, ran.traceback
    assert ran.text.count("☁") == 1
    assert note in ran.text
    assert kernel.value("ws") == [0, 1, 2]


@pytest.mark.parametrize("cell", ["", "  \n", "# only\n# words", "%%cloud\nvs = [1]", "vs = [1];"])
def test_what_needs_no_word_gets_none(kernel: Kernel, cell: str) -> None:
    ran = kernel.run(cell, cell_id="j", choice=ON)
    assert ran.is_ok, ran.traceback
    assert ran.text == ""


def test_a_header_of_the_users_own_counts_and_not_the_metadata(kernel: Kernel) -> None:
    ran = kernel.run(
        f"%%cloud --workers 2 --name mine\n{LOOP}", cell_id="k", choice={"on": True, "workers": 3}
    )
    assert ran.is_ok
    assert _jobs(kernel)[0]["source"].startswith("%%cloud --workers 2 --name mine\n")


def test_imports_from_the_future_hold_for_the_cells_after_it(kernel: Kernel) -> None:
    flags = "get_ipython().compile.flags"
    kernel.run(f"_flags = {flags}")
    assert kernel.run("from __future__ import annotations", cell_id="f", choice=ON).is_ok
    ran = kernel.run("def later(x: not_defined): pass")
    kernel.run(f"{flags} = _flags")
    assert ran.is_ok, ran.traceback


def test_code_that_a_pressed_cell_runs_is_not_pressed_itself(kernel: Kernel) -> None:
    inner = "import time\nfor i in range(40):\n    time.sleep(0.02)"
    before = len(_jobs(kernel))
    ran = kernel.run(f"_ = get_ipython().run_cell({inner!r})", cell_id="l", choice=ON)
    assert ran.is_ok
    assert len(_jobs(kernel)) == before


@pytest.mark.parametrize("header", ["", "%%cloud\n"], ids=["pressed", "%%cloud"])
def test_what_the_notebook_does_to_each_cell_is_done_to_this_one(
    kernel: Kernel, header: str
) -> None:
    assert kernel.run(
        "import ast\n"
        "class Doubled(ast.NodeTransformer):\n"
        "    def visit_Constant(self, node):\n"
        "        return ast.BinOp(node, ast.Add(), node) if isinstance(node.value, int) else node\n"
        "get_ipython().ast_transformers.append(Doubled())"
    ).is_ok
    before = len(_jobs(kernel))
    ran = kernel.run(
        f"{header}import time\nwhole = [time.sleep(0.05) or i * 3 for i in range(20)]",
        cell_id="t",
        choice=ON,
    )
    assert kernel.run(
        "_ts = get_ipython().ast_transformers\n"
        "_ts[:] = [each for each in _ts if type(each).__name__ != 'Doubled']"
    ).is_ok
    assert len(_jobs(kernel)) == before + 1
    assert ran.is_ok, ran.traceback
    assert kernel.value("whole") == [6 * i for i in range(40)]


def test_what_runs_silently_after_a_cell_that_is_not_python_is_not_that_cell(
    kernel: Kernel,
) -> None:
    assert not kernel.run("a = = 1", cell_id="broken", choice=ON).is_ok
    assert kernel.run("silently = 3", silent=True).is_ok
    assert kernel.value("silently") == 3


def test_what_the_extension_asks_leaves_no_trace(kernel: Kernel) -> None:
    before = kernel.value("[sorted(globals()), len(In), get_ipython().execution_count]")
    kernel.ask("prepare", choice=ON, cell_id="m")
    kernel.ask("plan", choice=ON, text="[i for i in range(9)]")
    assert kernel.value("[sorted(globals()), len(In), get_ipython().execution_count]") == before


def test_a_python_without_cloud_button_says_so_itself(kernel: Kernel) -> None:
    told = kernel.run("", silent=True, expression="__import__('cloudbutton_gone.front_end')")
    assert told.expression()["ename"] == "ModuleNotFoundError"


def test_the_plan_is_that_of_a_dry_run_and_runs_nothing(kernel: Kernel) -> None:
    told = kernel.ask("plan", choice=ON, text="never = [str(i) for i in range(9)]")
    assert told["status"] == "ok", told
    assert "1 loop could run in parallel on local" in told["data"]["text/plain"]
    assert "text/html" in told["data"]
    assert kernel.value("'never' in globals()") is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = = 1", "not Python"),
        ("%%time\nx", "`%%time "),
        ("%%cloud map i in xs\ni", "map i in xs"),
    ],
)
def test_a_cell_without_a_plan_says_why(kernel: Kernel, text: str, words: str) -> None:
    told = kernel.ask("plan", choice=ON, text=text)
    assert told["ename"] == "UsageError"
    assert words in told["evalue"]


def test_the_journal_keeps_the_plan_of_a_pressed_cell(kernel: Kernel) -> None:
    assert kernel.run(LOOP, cell_id="n", choice=ON).is_ok
    kernel.run(
        "import cloudbutton_backend.session.session as s, cloudbutton_backend.journal as j\n"
        "s.current().journal.flush(10)"
    )
    plan = kernel.value("j.JournalReader().jobs(limit=1)[0].plan")
    assert "cloud.map(work, range(40)).results()" in plan


def test_a_job_is_of_the_notebook_that_the_front_end_names(kernel: Kernel, tmp_path: Path) -> None:
    renamed, gone = tmp_path / "analysis.ipynb", tmp_path / "Untitled.ipynb"
    renamed.touch()
    kernel.run(f"import os\nos.environ['JPY_SESSION_NAME'] = {str(gone)!r}")

    def notebook() -> str:
        assert kernel.run(LOOP, cell_id="r", choice=ON).is_ok
        session = "__import__('cloudbutton_backend.session.session', fromlist=['x']).current()"
        return str(kernel.value(f"{session}.jobs()[0].record.notebook"))

    kernel.ask("prepare", choice=ON, cell_id="r")
    assert notebook() == str(gone), "an older extension does not name it"
    kernel.ask("prepare", choice=ON, cell_id="r", notebook=str(renamed))
    assert notebook() == str(renamed)
    kernel.ask(
        "prepare", choice=ON, cell_id="r", notebook=str(tmp_path / "of another machine.ipynb")
    )
    assert notebook() == str(gone)
    kernel.run("del os.environ['JPY_SESSION_NAME']")


def test_the_journal_keeps_the_users_own_lines_of_an_error(kernel: Kernel) -> None:
    kernel.run("import time\ndef check(i):\n    time.sleep(0.05)\n    assert i < 20, 'too much'")
    assert not kernel.run("for i in range(40):\n    check(i)", cell_id="e", choice=ON).is_ok
    kernel.run(
        "import cloudbutton_backend.session.session as s, cloudbutton_backend.journal as j\n"
        "s.current().journal.flush(10)"
    )
    kept = kernel.value(
        "j.JournalReader().errors(j.JournalReader().jobs(limit=1)[0].id)[0].traceback"
    )
    assert re.sub(r"\d+\]", "N]", kept) == (
        "Cell In[N], line 2\n    check(i)\nA cell, line 4, in check\n    assert i < 20, 'too much'"
    )


def test_a_mistake_in_the_settings_is_said_by_the_cell_and_can_be_repaired(tmp_path: Path) -> None:
    settings = tmp_path / "cloudbutton.toml"
    settings.write_text("workers = = 2\n")
    with started(tmp_path, environment(tmp_path)) as kernel:
        told = kernel.ask("prepare", choice=ON, cell_id="a")
        assert told["status"] == "ok", told
        ran = kernel.run(LOOP, cell_id="a", choice=ON)
        assert ran.reply["ename"] == "SettingsError"
        settings.unlink()
        assert kernel.run(LOOP, cell_id="a", choice=ON).is_ok
        assert len(_jobs(kernel)) == 1


class TestABackendThatCostsMoney:
    @pytest.fixture(autouse=True)
    def _costs(self, kernel: Kernel) -> Iterator[None]:
        kernel.run(
            "import cloudbutton_magic.kernel.consent as c; _costs = c.costs", store_history=False
        )
        kernel.run("c.costs = lambda backend: True; c._agreed.clear()", store_history=False)
        yield
        kernel.run("c.costs = _costs; del c, _costs", store_history=False)

    def test_it_runs_nothing_before_the_user_agreed(self, kernel: Kernel) -> None:
        ran = kernel.run("never = 1", cell_id="o", choice=ON)
        assert ran.reply["ename"] == "NotConfirmed"
        assert "`local` costs money" in ran.traceback
        assert kernel.value("'never' in globals()") is False

    def test_the_user_is_asked_and_the_cells_after_it_wait_for_the_answer(
        self, kernel: Kernel
    ) -> None:
        asked: list[dict[str, Any]] = []

        def yes(question: str) -> str:
            asked.append(json.loads(question))
            return "yes"

        told = kernel.ask("prepare", yes, choice=ON, cell_id="p")
        assert asked == [{"cloudbutton": {"backend": "local", "cell_id": "p"}}]
        assert told["data"]["application/json"] == {
            "protocol": 1,
            "backend": "local",
            "allowed": True,
        }
        assert kernel.run("now = 1", cell_id="p", choice=ON).is_ok
        kernel.ask("prepare", yes, choice=ON, cell_id="q")
        assert len(asked) == 1, "once is enough"

    def test_declining_runs_nothing_and_stops_what_follows(self, kernel: Kernel) -> None:
        told = kernel.ask("prepare", lambda question: "no", choice=ON, cell_id="r")
        assert told["data"]["application/json"]["allowed"] is False
        first = kernel.send("never = 1", cell_id="r", choice=ON)
        second = kernel.send("never = 2", cell_id="s")
        assert kernel.receive(first).reply["ename"] == "NotConfirmed"
        assert kernel.receive(second).reply["status"] == "aborted"
        assert kernel.value("'never' in globals()") is False

    def test_consent_given_before_needs_no_question(self, kernel: Kernel) -> None:
        kernel.ask("prepare", choice=ON, cell_id="t", may_spend=["local"])
        assert kernel.run("now = 2", cell_id="t", choice=ON).is_ok

    def test_a_front_end_that_cannot_be_asked_has_not_agreed(self, kernel: Kernel) -> None:
        told = kernel.ask("prepare", choice=ON, cell_id="u")
        assert told["data"]["application/json"]["allowed"] is False

    def test_a_question_that_nobody_answers_is_a_no_in_the_end(self, kernel: Kernel) -> None:
        kernel.run("_within, c.ANSWER_WITHIN = c.ANSWER_WITHIN, 0.2", store_history=False)
        try:
            told = kernel.ask("prepare", lambda question: None, choice=ON, cell_id="w")
            assert told["data"]["application/json"]["allowed"] is False
            assert kernel.run("plain = 1").is_ok, "and the kernel goes on"
        finally:
            kernel.run("c.ANSWER_WITHIN = _within; del _within", store_history=False)

    def test_another_front_end_of_the_same_kernel_has_not_agreed(self, kernel: Kernel) -> None:
        kernel.ask("prepare", choice=ON, cell_id="v", may_spend=["local"])
        mine = kernel.client.session.session
        try:
            kernel.client.session.session = "another"
            assert kernel.run("never = 1", cell_id="v", choice=ON).reply["ename"] == "NotConfirmed"
        finally:
            kernel.client.session.session = mine


def test_the_extension_asks_the_module_that_answers_it() -> None:
    source = (ROOT / "labextension/src/cell/kernel.ts").read_text(encoding="utf-8")
    (module,) = re.findall(r"const MODULE = `\$\{PACKAGE\}\.([\w.]+)`", source)
    assert f"cloudbutton_magic.{module}" == front_end_api.__name__
