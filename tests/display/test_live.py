"""Following a job: when what is drawn, replayed, cancelled."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from cloudbutton_backend.errors import WorkerLost
from cloudbutton_backend.job_model import ItemOutcome, JobState, Output
from cloudbutton_magic.display.live_view import Wording, follow, stream
from cloudbutton_magic.display.rendering import text_of
from cloudbutton_magic.display.screens import LogScreen, QuietScreen, TerminalScreen, screen_for
from cloudbutton_magic.display.task_outputs import OutputReplay
from cloudbutton_magic.display.view_model import Tone


def interrupt(job: Any) -> None:
    raise KeyboardInterrupt


def test_a_quick_job_is_shown_once_at_its_end(
    scripted_job: Any, screen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = scripted_job(lambda job: (job.arrive("a\n"), job.arrive(), job.end()))
    view = follow(job, screen)
    assert screen.drawn == []
    assert [shown for shown, _ in screen.closed] == [view]
    assert capsys.readouterr().out == "a\n"


def test_a_longer_job_is_drawn_when_something_changed(
    scripted_job: Any, screen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = scripted_job(
        lambda job: None,
        lambda job: job.arrive("one\n"),
        lambda job: None,
        lambda job: job.arrive("two\n"),
        lambda job: (job.arrive("three\n"), job.end()),
    )
    follow(job, screen)
    assert [view.count for view in screen.drawn] == [(0, 4), (1, 4), (2, 4)]
    assert len(screen.closed) == 1
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_the_summary_of_a_job_that_took_time_has_a_timeline(scripted_job: Any, screen: Any) -> None:
    follow(scripted_job(lambda job: job.end()), screen)
    ((_, timeline),) = screen.closed
    assert timeline is not None


@pytest.mark.parametrize("quiet_steps", [0, 1, 3])
def test_ctrl_c_cancels_shows_the_summary_and_passes_on(
    scripted_job: Any, screen: Any, quiet_steps: int
) -> None:
    steps = [lambda job: job.arrive()] * quiet_steps
    job = scripted_job(*steps, interrupt)
    with pytest.raises(KeyboardInterrupt):
        follow(job, screen)
    assert job.cancelled
    ((view, _),) = screen.closed
    assert view.tone is Tone.CANCELLED
    assert view.headline.startswith(f"◼ cancelled after {quiet_steps} of 4 items")


def test_hints_depend_on_how_it_ended(scripted_job: Any, screen: Any) -> None:
    job = scripted_job(lambda job: (job.arrive(error=ValueError("x")), job.end(JobState.FAILED)))
    follow(job, screen, wording=Wording(hints=lambda view: [f"it {view.tone.value}"]))
    ((view, _),) = screen.closed
    assert view.hints == ("it failed",)
    assert view.headline == "✗ 1 of 4 items failed: ValueError: x (item 0)"


def test_a_log_gets_one_line_at_the_end(scripted_job: Any) -> None:
    stream = io.StringIO()
    job = scripted_job(lambda job: None, lambda job: job.arrive(), lambda job: job.end())
    follow(job, LogScreen(stream))
    assert stream.getvalue() == "scores: ✓ 1 item in 1.0 s on 2 local workers\n"


def test_a_terminals_line_overwrites_itself_and_leaves_the_summary(scripted_job: Any) -> None:
    stream = io.StringIO()
    job = scripted_job(lambda job: None, lambda job: job.arrive(), lambda job: job.end())
    follow(job, TerminalScreen(stream))
    *drawn, summary = stream.getvalue().split("\r\x1b[K")
    assert summary == "scores: ✓ 1 item in 1.0 s on 2 local workers\n"
    assert "\n" not in "".join(drawn)
    assert len([line for line in drawn if line]) == 2


def test_a_quiet_cell_shows_warnings_only(
    scripted_job: Any, capsys: pytest.CaptureFixture[str], progress: Any
) -> None:
    job = scripted_job(lambda job: job.end())
    job.progress = progress(warnings=("mind `model`",))
    follow(job, QuietScreen())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "mind `model`\n"


def test_pipes_get_a_log_and_settings_win() -> None:
    assert isinstance(screen_for(None), LogScreen)
    assert isinstance(screen_for(None, "none"), QuietScreen)
    assert type(screen_for(None, "html")).__name__ == "NotebookScreen"


def outcome(index: int, *outputs: Output) -> ItemOutcome:
    return ItemOutcome(index, outputs=outputs)


def test_streams_and_displays_come_back_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    published: list[dict[str, Any]] = []
    bundle = {"data": {"text/plain": "fig"}, "metadata": {}}
    replay = OutputReplay(publish=published.append)
    replay.play(outcome(0, Output("stdout", "out\n"), Output("display", bundle)))
    replay.play(outcome(1, Output("stderr", "warning\n")))
    replay.finish()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("out\n", "warning\n")
    assert published == [bundle]


def test_output_past_the_limit_is_left_out_and_said_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    published: list[dict[str, Any]] = []
    replay = OutputReplay(publish=published.append, max_text=5, max_displays=1)
    bundle = {"data": {"text/plain": "fig"}}
    for index in range(3):
        replay.play(outcome(index, Output("stdout", "abc"), Output("display", bundle)))
    replay.finish()
    assert capsys.readouterr().out == (
        "abcab\n… output of 2 items left out (10 B); all of it is in `job.outcomes()`\n"
    )
    assert len(published) == 1


def test_a_stream_yields_outcomes_in_order_while_it_draws(scripted_job: Any, screen: Any) -> None:
    job = scripted_job(
        lambda job: job.arrive(),
        lambda job: job.arrive(error=ValueError("x")),
        lambda job: (job.arrive(), job.end(JobState.FAILED)),
    )
    outcomes = list(stream(job, screen))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert isinstance(outcomes[1].error, ValueError)
    assert [view.count for view in screen.drawn] == [(1, 4), (2, 4)]
    assert len(screen.closed) == 1


def test_closing_a_stream_cancels_the_rest(scripted_job: Any, screen: Any) -> None:
    job = scripted_job(lambda job: job.arrive(), lambda job: job.arrive())
    outcomes = stream(job, screen)
    assert next(outcomes).index == 0
    outcomes.close()  # type: ignore[attr-defined]
    assert job.cancelled
    assert len(screen.closed) == 1


@pytest.mark.parametrize(
    ("last", "headline"),
    [
        ({"error": ValueError("x")}, "then here: ValueError: x (item 1)"),
        ({}, "✓ ended early, in "),
    ],
)
def test_what_is_shown_of_a_job_whose_rest_nobody_wants_counts_none_of_the_rest(
    scripted_job: Any, screen: Any, last: dict[str, Any], headline: str
) -> None:
    job = scripted_job(
        lambda job: job.arrive(), lambda job: (job.arrive(**last), job.arrive(error=KeyError()))
    )
    outcomes = stream(job, screen)
    assert [next(outcomes).index, next(outcomes).index] == [0, 1]
    outcomes.close()  # type: ignore[attr-defined]
    ((view, _),) = screen.closed
    assert headline in view.headline
    assert view.tone is Tone.DONE
    assert "failed" not in text_of(view) and "cancelled" not in text_of(view)


def test_a_stream_of_a_job_cancelled_elsewhere_ends_as_ctrl_c_does(
    scripted_job: Any, screen: Any
) -> None:
    job = scripted_job(
        lambda job: job.arrive(),
        lambda job: (job.arrive(), job.end(JobState.CANCELLED)),
    )
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for outcome in stream(job, screen):
            seen.append(outcome.index)
    assert seen == [0, 1]
    ((view, _),) = screen.closed
    assert view.tone is Tone.CANCELLED


def test_a_stream_raises_what_killed_a_worker_beyond_a_gap(scripted_job: Any, screen: Any) -> None:
    def fail(job: Any) -> None:
        job.arrive()
        job.arrive(error=WorkerLost("item 2", "killed", 1))
        gap = replace(job._outcomes.pop(), index=2)
        job._outcomes.append(gap)
        job.end(JobState.FAILED)

    seen = []
    with pytest.raises(WorkerLost):
        for outcome in stream(scripted_job(fail), screen):
            seen.append(outcome.index)
    assert seen == [0]


DIVIDE = "<ipython-input-3-ab>:6: RuntimeWarning: divide by zero encountered in log\n  np.log(0)\n"
LONG = (
    "/lib/sklearn/linear.py:77: ConvergenceWarning: lbfgs failed to converge (status=1):\n"
    "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT.\n\n    https://scikit-learn.org\n  n_iter = run(\n"
)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ([DIVIDE, DIVIDE], DIVIDE),
        ([DIVIDE + "a\n" + DIVIDE + "b\n"], DIVIDE + "a\nb\n"),
        ([LONG, DIVIDE, LONG + "end\n"], LONG + DIVIDE + "end\n"),
        ([DIVIDE, DIVIDE.replace(":6:", ":7:")], DIVIDE + DIVIDE.replace(":6:", ":7:")),
        (["x.py:1: UserWarning: no source\n", "x.py:1: UserWarning: no source\nkept\n"],
         "x.py:1: UserWarning: no source\nkept\n"),
        (["the same\n", "the same\n"], "the same\nthe same\n"),
    ],
)  # fmt: skip
def test_a_warning_is_shown_once_in_a_cell(
    written: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = OutputReplay()
    for index, text in enumerate(written):
        replay.play(outcome(index, Output("stderr", text)))
    assert capsys.readouterr().err == shown


def test_what_the_kernel_warned_of_itself_is_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noted = {("divide by zero encountered in log", RuntimeWarning, 6): True, "version": 3}
    replay = OutputReplay(namespace={"__warningregistry__": noted})
    replay.play(outcome(0, Output("stderr", DIVIDE + DIVIDE.replace(":6:", ":7:"))))
    assert capsys.readouterr().err == DIVIDE.replace(":6:", ":7:")
