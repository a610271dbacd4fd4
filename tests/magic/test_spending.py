"""What a notebook shows and does where work costs money; the meter is imaginary, the workers are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from cloudbutton_backend import settings
from cloudbutton_backend.backends import registry
from cloudbutton_backend.backends.local import LocalBackend
from cloudbutton_backend.cost import Rate
from cloudbutton_backend.errors import BudgetReached, UsageError
from cloudbutton_backend.session import session
from tests.support.metered_backend import MeteredBackend

from .conftest import Run

SLOW = "import time\ntime.sleep(0.02)\nx"


@pytest.fixture(autouse=True)
def _metered() -> Iterator[None]:
    def new() -> MeteredBackend:
        return MeteredBackend(
            LocalBackend(workers=2), Rate(per_second=0.1, per_call=0.001), first_wave=2
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILT_IN, "metered", lambda: new)
        yield


def test_the_summary_says_what_was_billed(run: Run) -> None:
    out = run(f"%%cloud map x in range(40) -> ys --backend metered --budget 2\n{SLOW}").out
    job = session.current().jobs()[0]
    assert 0 < job.cost < 2
    assert f"${job.cost:.2f} billed (" in out
    assert "budget $2.00)" in out


@pytest.mark.parametrize("rest", ["--budget $5 -> zs", "-> zs --budget $5", "-> zs --budget=5"])
def test_a_job_at_its_budget_says_so_and_is_continued(
    run: Run, shell: InteractiveShell, rest: str
) -> None:
    ran = run(f"%%cloud map x in range(60) -> zs --backend metered --budget 0.05\n{SLOW}")
    assert "BudgetReached" in ran.out
    assert "zs" not in shell.user_ns
    job = session.current().jobs()[0]
    assert job.cost <= 0.05
    failure = job.failure
    assert isinstance(failure, BudgetReached)
    assert f"`%cloud retry {job.id} --budget {failure.enough:g} -> zs` runs what is" in ran.out
    assert run(f"%cloud retry {job.id} {rest}").error is None
    assert shell.user_ns["zs"] == list(range(60))


def test_a_budget_of_the_settings_holds_for_every_job(run: Run) -> None:
    run("%cloud use metered budget=0.05")
    try:
        assert "BudgetReached" in run(f"%%cloud map x in range(60) -> zs\n{SLOW}").out
        assert session.current().jobs()[0].cost <= 0.05
    finally:
        settings.forget_used()


@pytest.mark.parametrize("amount", ["", " much", "=-1"])
def test_a_budget_that_is_no_amount_is_refused(run: Run, amount: str) -> None:
    ran = run(f"%cloud retry --budget{amount}")
    assert isinstance(ran.error, UsageError)
    assert "an amount in US dollars" in str(ran.error)


def test_a_dry_run_tells_what_earlier_runs_cost(run: Run) -> None:
    cell = f"range(40) -> ys --backend metered{{}}\n{SLOW} + 1"
    first = run("%%cloud map x in " + cell.format(" --dry-run"))
    assert "of 40 items run here" in repr(first.value)
    run("%%cloud map x in " + cell.format(""))
    job = session.current().jobs()[0]
    session.current().journal.flush(10.0)
    planned = run("%%cloud map x in " + cell.format(" --dry-run")).value
    asked = planned.estimates.forecast.asked
    assert asked.dollars.holds(job.cost)
    assert "What 40 items would take, from 1 earlier run; nothing was spent." in repr(planned)
    assert "from 1 earlier run" in planned._repr_html_()


def test_a_cell_with_two_loops_has_one_budget(run: Run) -> None:
    naps = "[time.sleep(0.02) for _ in range(30)]"
    run(f"%%cloud --force --backend metered --budget 3\nimport time\na = {naps}\nb = {naps}")
    second, first = session.current().jobs()[:2]
    assert first.cost > 0
    assert second.options.budget == pytest.approx(3 - first.cost)


def test_a_dry_run_of_the_button_tells_what_the_same_cell_cost(run: Run) -> None:
    cell = "import time\nc = [time.sleep(0.02) for _ in range(30)]"
    before = repr(run(f"%%cloud --dry-run --backend metered\n{cell}").value)
    assert "has a price that its first calls will tell" in before
    run(f"%%cloud --force --backend metered\n{cell}")
    after = repr(run(f"%%cloud --dry-run --backend metered\n{cell}").value)
    assert "and costs about $" in after
