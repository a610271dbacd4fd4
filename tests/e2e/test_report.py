"""A report as a reader sees it: in light and dark, on paper, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from cloudbutton_backend.job_model import BatchRecord, JobState
from cloudbutton_backend.journal import ErrorRecord, JobRow
from cloudbutton_backend.report import JobFacts, page

#: Legible for people with weak sight, as WCAG's level AA wants it of text.
CONTRAST = 4.5
TEXTS = ("h1", ".muted", ".failure", ".warning", "dd", "dt", "td", "pre", "svg text", "footer")

COLOURS = """names => names.map(name => {
    const element = document.querySelector(name);
    const style = getComputedStyle(element);
    let around = element, behind = 'rgba(0, 0, 0, 0)';
    while (around && behind === 'rgba(0, 0, 0, 0)') {
        behind = getComputedStyle(around).backgroundColor;
        around = around.parentElement;
    }
    return [name === 'svg text' ? style.fill : style.color, behind];
})"""


@pytest.fixture
def opened(browser: BrowserContext, tmp_path: Path) -> Page:
    row = JobRow(
        id="abcd2345", name="<script>document.title = 'run'</script>", kind="map",
        backend="lambda", state=JobState.FAILED, created=1.79e9, ended=1.79e9 + 60, pid=1,
        host="here", n_items=200, done=199, failed=1, workers=4, task_seconds=200.0, spend=0.2,
        budget=0.5, estimate=0.21, estimate_low=0.18, estimate_high=0.26,
        estimate_basis="2 earlier runs", source="fit(C)\n", error="ValueError: no",
        warnings=("tasks changed `model`",),
    )  # fmt: skip
    facts = JobFacts(
        record=row, progress=row.progress(1.79e9 + 61), capture={},
        batches=[
            BatchRecord("abcd2345", n, f"w{n % 4}", n, 1, 1.79e9 + n, 1.79e9 + n + 3, "done",
                        memory_peak=10**8)
            for n in range(60)
        ],
        errors=[ErrorRecord("abcd2345", 3, "3", "ValueError", "no", "line 3, in fit")],
        written=1.79e9 + 61, version="1.0",
    )  # fmt: skip
    path = tmp_path / "report.html"
    path.write_text(page(facts), encoding="utf-8")
    shown = browser.new_page()
    shown.goto(path.as_uri())
    return shown


def luminance(colour: str) -> float:
    parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(opened: Page, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for name, (text, behind) in zip(TEXTS, opened.evaluate(COLOURS, TEXTS), strict=True):
        low, high = sorted((luminance(text), luminance(behind)))
        assert (high + 0.05) / (low + 0.05) >= CONTRAST, (name, text, behind)
    assert (luminance(opened.evaluate(COLOURS, ["body"])[0][1]) < 0.5) == (scheme == "dark")
    opened.close()


def test_on_paper_it_is_light_and_fits(opened: Page) -> None:
    opened.emulate_media(media="print", color_scheme="dark")
    assert luminance(opened.evaluate(COLOURS, ["body"])[0][1]) > 0.9
    opened.close()


def test_nothing_in_it_runs_and_a_narrow_window_scrolls_only_charts(opened: Page) -> None:
    opened.set_viewport_size({"width": 400, "height": 800})
    assert "abcd2345" in opened.title()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert opened.evaluate(wide) is False
    opened.close()


def test_it_is_told_to_those_who_do_not_see_it(opened: Page) -> None:
    for name in ("Timeline", "Durations", "Memory"):
        chart = opened.get_by_role("img", name=re.compile(f"^{name}"))
        assert chart.count() == 1
    assert opened.get_by_role("region", name="Errors").count() == 1
    opened.close()
