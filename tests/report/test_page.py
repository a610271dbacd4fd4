"""The page: complete, alone, safe to pass on, and small however large the job was."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.job_model import JobState
from cloudbutton_backend.journal import ErrorRecord
from cloudbutton_backend.report import JobFacts, page
from cloudbutton_backend.report.redaction import without_places

from .conftest import NOON, batch

MakeFacts = Callable[..., JobFacts]


class Reading(HTMLParser):
    """What a page has in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


def test_it_tells_everything_there_is_to_know(facts: MakeFacts) -> None:
    text = " ".join(Reading(page(facts())).text.split())
    for part in (
        "scores", "job abcd2345", "lambda, 4 workers, 1.9 GB each, from analysis.ipynb",
        "ValueError: no (item 3: 3)", "tasks changed model", "198 of 200", "2 failed", "3.8×",
        "50 batches on 4 workers", "Half of the items took less than 0.38 s", "80.0 MB",
        "$0.18 to $0.26 (90 %), by 2 earlier runs", "inside the interval, +10%", "$0.50",
        "(item 3: C=3)", "line 3, in fit", "fit(C)", "4711", "fit travelled in 2.1 kB",
        "blob, sent once", "numpy 2.1", "helpers", "Cloud Button 1.0",
    ):  # fmt: skip
        assert part in text


def test_it_needs_nothing_else_and_runs_nothing(facts: MakeFacts) -> None:
    text = page(facts())
    read = Reading(text)
    assert set(read.tags) & {"script", "link", "img", "iframe", "object", "embed", "base"} == set()
    assert read.attributes & {"src", "href", "srcset", "data", "action"} == set()
    assert not any(name.startswith("on") for name in read.attributes)
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")


#: Where what a user wrote, or an exception said, gets into a report.
TEXTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "name": lambda text: {"name": text},
    "backend": lambda text: {"backend": text},
    "notebook": lambda text: {"notebook": text},
    "code": lambda text: {"source": text},
    "plan": lambda text: {"plan": text},
    "error": lambda text: {"error": text},
    "warning": lambda text: {"warnings": (text,)},
    "option": lambda text: {"options": {text: text}},
    "captured": lambda text: {
        "capture": {"function": text, "values": [{"name": text, "type": text, "how": text}],
                    "packages": {text: text}, "user_modules": [text]}
    },
    "exception": lambda text: {"errors": [ErrorRecord("abcd2345", 0, text, text, text, text)]},
    "worker": lambda text: {"batches": [batch(0, worker=text)]},
    "basis": lambda text: {"estimate_basis": text},
}  # fmt: skip


@pytest.mark.parametrize("where", TEXTS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            ["</style><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "]]>", "&lt;",
             "'; --", "\x00\x1b[31m", "\ud800", "<!--", "`<b>`"]
        ),
    )
)  # fmt: skip
def test_text_stays_text_wherever_it_comes_from(facts: MakeFacts, where: str, text: str) -> None:
    allowed = set(Reading(page(facts())).tags) | {"code", "details", "summary"}
    written = page(facts(**TEXTS[where](text)))
    assert set(Reading(written).tags) <= allowed
    written.encode("utf-8")
    for chart in re.findall(r"<svg.*?</svg>", written, re.DOTALL):
        ET.fromstring(chart)


def test_markup_in_a_name_is_shown_as_it_was_written(facts: MakeFacts) -> None:
    assert "<b>&amp;" in Reading(page(facts(name="<b>&amp;"))).text


PRIVATE = {
    "a home": ("File '/home/ada/project/fit.py', line 3", "/home/ada"),
    "a path with spaces": ("no such file: '/home/ada/my data/x.csv'", "my data"),
    "a path of Windows": (r"C:\Users\ada\fit.py could not be read", "ada"),
    "a password": ("password = 'hunter2'", "hunter2"),
    "a key in a mapping": ('{"api_key": "abc123def"}', "abc123def"),
    "a token in a query": ("GET https://x.org/a?token=abc123def&x=1", "abc123def"),
    "a password in a URL": ("postgres://ada:hunter2@db/x", "hunter2"),
    "AWS": ("AKIAIOSFODNN7EXAMPLE was refused", "AKIAIOSFODNN7EXAMPLE"),
    "GitHub": ("ghp_abcdefghijklmnopqrstuvwxyz012345", "ghp_abcdefgh"),
    "a header": ("Authorization: Bearer abcdefghijklmnop", "abcdefghijklmnop"),
}


@pytest.mark.parametrize(("text", "secret"), PRIVATE.values(), ids=PRIVATE)
@pytest.mark.parametrize("where", ["error", "warning", "exception"])
def test_neither_places_nor_secrets_are_passed_on(
    facts: MakeFacts, where: str, text: str, secret: str
) -> None:
    assert secret in text
    assert secret not in page(facts(**TEXTS[where](text)))


@pytest.mark.parametrize("text", ["password = 'hunter2'", "client = Client(token='hunter2')"])
def test_a_secret_in_the_code_is_left_out_and_the_rest_is_as_written(
    facts: MakeFacts, text: str
) -> None:
    source = f"x = read('/data/of/mine.csv')\n{text}\n"
    shown = Reading(page(facts(source=source))).text
    assert source.replace("hunter2", "•••").strip() in shown


@pytest.mark.parametrize("workers", [1, 16, 1_000])
def test_a_hundred_thousand_batches_fit_on_a_small_page(facts: MakeFacts, workers: int) -> None:
    statuses = ("done", "done", "error", "lost")
    batches = [
        batch(
            number,
            worker=f"w-{number % workers}",
            start=NOON + number / 10,
            end=NOON + number / 10 + 1 + number % 7,
            status=statuses[number % 4],
        )
        for number in range(100_000)
    ]
    assert len(page(facts(batches=batches))) < 200_000


def test_long_texts_are_shortened_in_the_middle(facts: MakeFacts) -> None:
    error = ErrorRecord("abcd2345", 0, "i" * 10**6, "E", "m" * 10**6, "t" * 10**6 + "the end")
    written = page(facts(errors=[error], source="s" * 10**6, error="e" * 10**6))
    assert len(written) < 200_000
    assert "the end" in written
    assert "characters left out" in written


@pytest.mark.parametrize(
    "part", ["m", "/", "'/", "a/", "eyJ-", "token=", "://a:", "password='", "C:/"]
)
def test_no_text_takes_long_to_look_through(part: str) -> None:
    began = time.process_time()
    without_places(part * (40_000 // len(part)))
    assert time.process_time() - began < 2.0


def test_each_chart_says_in_words_what_it_shows(facts: MakeFacts) -> None:
    charts = re.findall(r"<svg.*?</svg>", page(facts()), re.DOTALL)
    assert len(charts) == 3
    for text in charts:
        chart = ET.fromstring(text)
        title, description = chart.find("title"), chart.find("desc")
        assert chart.get("role") == "img"
        assert title is not None and title.text
        assert description is not None and len((description.text or "").split()) > 3
        assert (chart.get("aria-labelledby") or "").split() == [
            title.get("id"), description.get("id"),
        ]  # fmt: skip


def test_a_job_of_which_little_is_known_has_a_page_as_well(facts: MakeFacts) -> None:
    bare = facts(
        state=JobState.LOST, ended=None, n_items=None, done=0, failed=0, workers=0, spend=0.0,
        budget=None, estimate=None, notebook=None, source=None, capture={}, options={}, error=None,
        warnings=(), batches=(), errors=(), task_seconds=0.0, worker_memory=None,
    )  # fmt: skip
    text = Reading(page(bare)).text
    assert "lost: its process has gone" in text
    assert "0 of ?" in text
    for section in ("Timeline", "Durations", "Memory", "Cost", "Errors", "Code"):
        assert section not in text


def test_errors_that_failed_alike_are_told_once(facts: MakeFacts) -> None:
    errors = [
        ErrorRecord("abcd2345", number, f"C={number}", "ValueError", f"C={number} is bad", "line 3")
        for number in range(12)
    ]
    read = Reading(page(facts(errors=errors)))
    assert read.tags.count("details") == 1
    assert "(12 items: 0, 1, 2, 3, 4, 5, 6, 7, …)" in read.text
