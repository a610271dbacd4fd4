"""The HTML of a view, compared by structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cloudbutton_backend.job_model import BatchRecord, JobState, Progress
from cloudbutton_magic.display.rendering import Table, html_of, summary_timeline
from cloudbutton_magic.display.view_model import FailureGroup, view_of

Make = Callable[..., Progress]
VOID = {"rect"}


class Page(HTMLParser):
    """Elements with their attributes, and the text outside style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.elements if name in (a.get("class") or "").split()]

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def test_a_running_job_has_a_bar_that_assistive_technology_can_read(progress: Make) -> None:
    page = Page(html_of(view_of(progress(total=200, done=131, failed=1, last_lines=("fold 3",)))))
    (bar,) = page.with_class("cb-bar")
    assert bar["role"] == "progressbar"
    assert (bar["aria-valuemin"], bar["aria-valuenow"], bar["aria-valuemax"]) == ("0", "132", "200")
    assert [a.get("style") for t, a in page.elements if t == "span" and a.get("style")] == [
        "width:65.50%",
        "width:0.50%",
    ]
    assert "fold 3" in page.text


def test_an_unknown_total_has_a_bar_without_a_value(progress: Make) -> None:
    (bar,) = Page(html_of(view_of(progress(total=None, done=7)))).with_class("cb-bar")
    assert "aria-valuenow" not in bar
    assert bar["aria-valuetext"] == "7 items so far"


def test_the_summary_has_a_timeline_and_no_bar(progress: Make) -> None:
    batch = BatchRecord("j", 0, "w", 0, 1, 5.0, 6.0, "done")
    page = Page(html_of(view_of(progress(state=JobState.DONE, done=4)), summary_timeline([batch])))
    assert page.with_class("cb-bar") == []
    assert "svg" in page.tags
    assert page.with_class("cb-is-done")


def test_nothing_is_loaded_and_nothing_runs(progress: Make) -> None:
    html = html_of(view_of(progress(warnings=("look",), last_lines=("x",))))
    page = Page(html)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert not [a for _, a in page.elements for name in a if name.startswith("on")]
    assert "http" not in html
    assert "url(" not in html


def test_what_users_write_is_escaped(progress: Make) -> None:
    nasty = '<script>alert("&")</script>'
    group = FailureGroup(message=nasty, count=2, first=nasty)
    failed = view_of(
        progress(name=nasty, state=JobState.FAILED, failed=2, warnings=(nasty,)),
        failures=[group, group],
    )
    failed = replace(failed, hints=(nasty,))
    running = view_of(progress(name=nasty, last_lines=(nasty,)))
    for html in (
        html_of(failed),
        html_of(running),
        Table(nasty, [nasty], [[nasty]])._repr_html_(),
    ):
        page = Page(html)
        assert "script" not in page.tags
        assert nasty in page.text


def test_both_themes_and_the_front_ends_own_colours_are_provided(progress: Make) -> None:
    html = html_of(view_of(progress()))
    for needed in ("--jp-layout-color0", "--vscode-editor-background", "prefers-color-scheme:dark"):
        assert needed in html


def test_without_its_style_the_summary_still_reads(progress: Make) -> None:
    batch = BatchRecord("j", 0, "w", 0, 1, 5.0, 6.0, "done")
    view = view_of(progress(state=JobState.DONE, done=4, elapsed=0.05))
    lines = [
        line.strip() for line in Page(html_of(view, summary_timeline([batch]))).text.splitlines()
    ]
    assert [line for line in lines if line] == [
        "scores ✓ 4 items in 50 ms on 2 local workers",
        "job k3fb7xq2",
    ]


def test_code_between_backticks_is_marked() -> None:
    page = Page(Table("use `%cloud jobs`")._repr_html_())
    assert "code" in page.tags
    assert "%cloud jobs" in page.text


def test_a_listing_reads_as_text_too() -> None:
    listing = Table("2 jobs", ("id", "state"), [("ab", "done"), ("cde", "running")], ["a note"])
    assert repr(listing).splitlines() == [
        "2 jobs",
        "  id   state",
        "  ab   done",
        "  cde  running",
        "a note",
    ]


@pytest.mark.parametrize("n_batches", [1, 10_000])
def test_an_output_stays_small_whatever_the_job_was(progress: Make, n_batches: int) -> None:
    batches = [
        BatchRecord("j", i, f"w{i % 1000}", i, 1, float(i), i + 0.5, "done")
        for i in range(n_batches)
    ]
    assert len(html_of(view_of(progress(state=JobState.DONE)), summary_timeline(batches))) < 30_000
