"""Where items run, what is told about it, and what happens when the engine fails."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cloudbutton_backend.errors import CaptureError, TaskTimeout, WorkerLost
from cloudbutton_backend.job_model.outcome import ItemOutcome, Output
from cloudbutton_magic.analysis import find_loops
from cloudbutton_magic.button import Button, LoopReport, StartOverhead, is_worth_sending, plan
from cloudbutton_magic.button.loop_run import LoopRun, LoopSetting


class Here:
    """An engine that runs items in this very process, and can be told to fail."""

    def __init__(self, fail_at: int = -1, error: BaseException | None = None) -> None:
        self.fail_at, self.error = fail_at, error
        self.yielded = 0
        self.before = -1
        self.closed = False

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]:
        self.before = before
        try:
            for index, item in enumerate(items):
                if index == self.fail_at and self.error is not None:
                    raise self.error
                self.yielded += 1
                yield ItemOutcome(index, body(item))
        finally:
            self.closed = True


@pytest.mark.parametrize(
    ("elapsed", "done", "remaining", "workers", "sent"),
    [
        (0.05, 1, 63, 2, True),
        (0.001, 1, 100, 8, False),
        (0.001, 1, 100_000, 8, True),
        (1.0, 1, 1, 8, False),
        (1.0, 1, 2, 8, True),
        (1.0, 1, 100, 1, False),
        (0.0, 1, 100, 8, False),
        (1.0, 1, 0, 8, False),
    ],
)
def test_the_rest_goes_only_where_it_ends_sooner(
    elapsed: float, done: int, remaining: int, workers: int, sent: bool
) -> None:
    assert is_worth_sending(elapsed, done, remaining, workers, StartOverhead(0.12, 0.0002)) is sent


def run(source: str, mapper: Any, *, force: bool = True, **names: Any) -> dict[str, Any]:
    namespace = {"__name__": "__main__", **names}
    Button(mapper).run(source, namespace, force=force)
    return namespace


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("def __init__(self, x): self.x = x", 5),  # an attribute called like the loop's variable
        ("def value(self): return x", 0),
        ("def value(self): return [x for _ in 'ab']", 0),
        ("def value(self):\n        global x\n        x = 1", 0),
    ],
)
def test_methods_of_captured_objects_may_not_read_what_the_loop_writes(
    method: str, sent: int
) -> None:
    mapper = Here()
    source = (
        f"class Point:\n    {method}\n"
        "point = Point.__new__(Point)\nfirst = [point]\nout = []\n"
        "for x in range(5):\n    out.append(len(first) + x)\n"
    )
    assert run(source, mapper)["out"] == [1, 2, 3, 4, 5]
    assert mapper.yielded == sent


def test_short_work_stays_and_never_meets_the_engine() -> None:
    mapper = Here()
    reports: list[LoopReport] = []
    Button(mapper).run("y = [x * 2 for x in range(50)]", {}, reports=reports)
    assert mapper.yielded == 0
    assert reports[0].items_here == 50 or reports[0].items_here >= 50


def test_long_work_starts_here_and_goes_on_there() -> None:
    clock = iter(range(1000))
    mapper = Here()
    (loop,) = find_loops(ast.parse("for x in xs:\n    out.append(x)"))
    namespace: dict[str, Any] = {"out": []}
    setting = LoopSetting(
        namespace, "<cell>", 0, mapper, lambda output: None, False, 4, clock=lambda: next(clock)
    )
    run = LoopRun(loop, range(10), setting)
    here = [list(event.items) for event in run.events() if hasattr(event, "items")]
    assert here == [[0], []]
    assert namespace["out"] == list(range(1, 10))
    assert mapper.before == 1, "messages count the item that ran here"


def test_an_engine_that_cannot_send_leaves_the_loop_here() -> None:
    mapper = Here(fail_at=0, error=CaptureError("`lock` cannot travel"))
    reports: list[LoopReport] = []
    namespace: dict[str, Any] = {}
    report = Button(mapper).run(
        "out = [x * 2 for x in range(5)]", namespace, force=True, reports=reports
    )
    assert namespace["out"] == [0, 2, 4, 6, 8]
    assert "`lock` cannot travel" in report.lines()[0]


def test_an_engine_that_dies_in_the_middle_loses_nothing() -> None:
    mapper = Here(fail_at=3, error=CaptureError("gone"))
    namespace = run("for x in range(6):\n    y = [x]\n    out.append(y)", mapper, out=[])
    assert namespace["out"] == [[0], [1], [2], [3], [4], [5]]
    assert namespace["y"] is namespace["out"][-1]


def test_an_interrupt_keeps_what_was_finished_and_closes_the_engine() -> None:
    mapper = Here(fail_at=3, error=KeyboardInterrupt())
    namespace: dict[str, Any] = {"out": []}
    with pytest.raises(KeyboardInterrupt):
        Button(mapper).run("for x in range(6):\n    out.append(x)", namespace, force=True)
    assert namespace["out"] == [0, 1, 2]
    assert mapper.closed


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), WorkerLost("item 3", "killed", 1), TaskTimeout("item 3", 1.0)],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("told_by", ["the engine", "the item"])
def test_what_could_end_the_kernel_too_is_raised_and_not_run_here(
    error: BaseException, told_by: str
) -> None:
    def engine(body: Callable[[Any], Any], items: Sequence[Any], **_: Any) -> Iterator[ItemOutcome]:
        for index, item in enumerate(items[:3]):
            yield ItemOutcome(index, body(item))
        if told_by == "the engine" or isinstance(error, KeyboardInterrupt):
            raise error
        yield ItemOutcome(3, error=error)

    namespace: dict[str, Any] = {"out": [], "ys": []}
    source = "for x in range(6):\n    out.append(x)\n    last = x"
    with pytest.raises(type(error)):
        Button(engine).run(source, namespace, force=True)
    assert (namespace["out"], namespace["last"]) == ([0, 1, 2], 2)
    with pytest.raises(type(error)):
        Button(engine).run("ys.extend(x for x in range(6))", namespace, force=True)
    assert namespace["ys"] == [0, 1, 2]


def test_any_cancels_what_it_does_not_need() -> None:
    mapper = Here()
    namespace = run("found = any(x > 1 for x in range(100))", mapper)
    assert namespace["found"] is True
    assert mapper.yielded < 6
    assert mapper.closed


def test_a_changed_shared_object_stops_the_run_and_is_told() -> None:
    # The list is changed through a library function, which the text does not show.
    source = "import heapq\nfor x in [3, 1, 2]:\n    heapq.heappush(heap, x)"
    namespace: dict[str, Any] = {"heap": []}
    report = Button(Here()).run(source, namespace, force=True)
    (line,) = report.lines()
    assert "the loop changed `heap`, which all iterations share" in line
    assert "may have happened twice" in line


@pytest.mark.parametrize("began", [True, False])
def test_only_what_began_elsewhere_may_have_happened_twice(began: bool) -> None:
    def engine(body: Callable[[Any], Any], items: Sequence[Any], **_: Any) -> Iterator[ItemOutcome]:
        yield ItemOutcome(0, error=ImportError("No module named 'tables'"), began=began)

    report = Button(engine).run("for x in range(6):\n    y = x", {}, force=True)
    (line,) = report.lines()
    assert "ran here, because ImportError: No module named 'tables'" in line
    assert ("may have happened twice" in line) is began


def test_the_hook_is_gone_after_the_cell_even_after_an_error() -> None:
    namespace: dict[str, Any] = {}
    with pytest.raises(ZeroDivisionError):
        Button(Here()).run("y = [1 // x for x in [1, 0]]", namespace, force=True)
    assert set(namespace) == {"__builtins__"}


def test_output_of_items_is_replayed_in_order() -> None:
    def engine(body: Callable[[Any], Any], items: Sequence[Any], **_: Any) -> Iterator[ItemOutcome]:
        for index, item in enumerate(items):
            yield ItemOutcome(index, body(item), outputs=(Output("stdout", f"<{index}>"),))

    shown: list[str] = []
    button = Button(engine, replay=lambda output: shown.append(str(output.data)))
    button.run("for x in 'abc':\n    pass", {}, force=True)
    assert shown == ["<0>", "<1>", "<2>"]


def test_a_plan_shows_the_rewritten_loop_without_running_it() -> None:
    tree = ast.parse("out = []\nfor x in range(9):\n    y = f(x)\n    out.append(y)")
    text = plan(tree, {}).source()
    ast.parse(text)
    assert "def work(item):" in text
    assert "out.append(" in text
    assert "cloud.map(work, range(9))" in text


def test_a_plan_gives_the_reason_where_nothing_can_be_done() -> None:
    text = plan(ast.parse("for x in xs:\n    s = g(s, x)"), {}).source()
    assert text.startswith("# line 2 reads `s`, which the previous iteration wrote")
