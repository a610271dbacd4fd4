"""The report as one HTML document: no script, nothing fetched, readable without its styles. Pure."""

from __future__ import annotations

from cloudbutton_backend.report import sections
from cloudbutton_backend.report.job_facts import JobFacts
from cloudbutton_backend.report.markup import Markup, element
from cloudbutton_backend.report.stylesheet import STYLE

#: A browser shall fetch and run nothing, whatever a report holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(facts: JobFacts) -> str:
    """Return the report as the text of an HTML file."""
    return "<!doctype html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", f"{facts.name} ({facts.id})"),
            element("style", Markup(STYLE)),
        ),
        element("body", sections.all_of(facts)),
        lang="en",
    )
