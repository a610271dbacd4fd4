"""The report as one HTML document, and where it is written.

The document has no script, fetches nothing, and is readable without its styles.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from cloudbutton_backend.errors import UsageError
from cloudbutton_backend.journal import JournalReader
from cloudbutton_backend.report import sections
from cloudbutton_backend.report.facts import JobFacts, ReportedJob, facts_of_job, facts_of_row
from cloudbutton_backend.report.markup import Markup, element

STYLE: Final = """
:root{color-scheme:light dark;--fg:#1f2328;--muted:#59636e;--bg:#fff;--line:#d1d9e0;--track:#eef1f4;
--accent:#1f6feb;--good:#1a7f37;--bad:#cf222e;--warn:#9a6700}
@media (prefers-color-scheme:dark){:root{--fg:#e6edf3;--muted:#9198a1;--bg:#0d1117;--line:#3d444d;
--track:#1f262e;--accent:#4493f8;--good:#3fb950;--bad:#f85149;--warn:#d29922}}
@media print{:root{color-scheme:light;--fg:#000;--muted:#444;--bg:#fff;--line:#bbb;--track:#eee;
--accent:#1f6feb;--good:#1a7f37;--bad:#cf222e;--warn:#9a6700}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:66rem;background:var(--bg);color:var(--fg);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{margin:0;font-size:1.7rem;line-height:1.25;overflow-wrap:anywhere}
h2{margin:2.4rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line);font-size:1.1rem}
p{margin:.4rem 0}
.muted{color:var(--muted)}
.state{font-weight:600}
.is-done{color:var(--good)}.is-failed,.is-lost{color:var(--bad)}
.is-cancelled,.is-running,.is-cancelling,.warning{color:var(--warn)}
.failure{color:var(--bad);overflow-wrap:anywhere}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.8rem;margin:1.4rem 0 0;
padding:0}
.figures div{padding:.7rem .9rem;border:1px solid var(--line);border-radius:6px}
.figures dt{color:var(--muted);font-size:.82rem}
.figures dd{margin:0;font-size:1.15rem;font-weight:600;font-variant-numeric:tabular-nums}
.figures dd small{display:block;color:var(--muted);font-size:.8rem;font-weight:400}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;
overflow-wrap:anywhere}
thead th{color:var(--muted);font-size:.82rem;font-weight:500}
tbody th{font-weight:500}
td.number,th.number{text-align:right}
pre{margin:.5rem 0;padding:.8rem 1rem;overflow-x:auto;border:1px solid var(--line);border-radius:6px;
background:var(--track);font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace}
code{font:.92em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
details{margin:.4rem 0}summary{cursor:pointer;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
svg{display:block;width:100%;min-width:34rem;height:auto;margin:.6rem 0 0}
svg text{fill:var(--muted);font-size:12px;font-variant-numeric:tabular-nums}
.track{fill:var(--track)}.bar{fill:var(--accent)}
.area{fill:var(--accent);fill-opacity:.3;stroke:var(--accent)}
.line{fill:none;stroke-width:10}.line.done{stroke:var(--accent)}.line.failed{stroke:var(--bad)}
.line.lost{stroke:var(--warn)}
.limit{stroke:var(--bad);stroke-dasharray:6 4}
.key{display:inline-block;width:.75em;height:.75em;margin:0 .35em 0 1em;border-radius:2px}
.key.done{background:var(--accent)}.key.failed{background:var(--bad)}.key.lost{background:var(--warn)}
footer{margin-top:3rem;padding-top:.8rem;border-top:1px solid var(--line);color:var(--muted);font-size:.85rem}
@media print{body{padding:0;max-width:none;font-size:11px}section{break-inside:avoid-page}
pre{white-space:pre-wrap;overflow-wrap:anywhere}.key,svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


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
            element("title", f"{facts.record.name} ({facts.record.id})"),
            element("style", Markup(STYLE)),
        ),
        element("body", sections.all_of(facts)),
        lang="en",
    )


def report_of_job(job: ReportedJob, path: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a job of this process; return where it is.

    Raises
    ------
    UsageError
        It cannot be written there.
    """
    return write(page(facts_of_job(job)), path, job.id)


def report_of_id(
    job_id: str, path: str | os.PathLike[str] | None = None, *, home: Path | None = None
) -> Path:
    """Write the report of a job of any process, by what the journal has of it; return where it is.

    Raises
    ------
    UnknownName
        The journal has no job whose id begins so.
    UsageError
        It has several, or the report cannot be written there.
    """
    reader = JournalReader(home)
    row = reader.job(job_id)
    return write(page(facts_of_row(reader, row)), path, row.id)


def text_of_id(job_id: str, *, home: Path | None = None) -> str:
    """Return the report of a job of any process as the text of an HTML file.

    Raises
    ------
    UnknownName, UsageError
        As from `report_of_id`.
    """
    reader = JournalReader(home)
    return page(facts_of_row(reader, reader.job(job_id)))


def write(text: str, path: str | os.PathLike[str] | None, job_id: str) -> Path:
    """Write a report to `path`: a file, a directory, or nothing for one in the working directory."""
    target = Path(f"cloudbutton-{job_id}.html" if path is None else path).expanduser()
    if target.is_dir():
        target /= f"cloudbutton-{job_id}.html"
    try:
        made = target.with_name(f".{target.name}-{os.urandom(4).hex()}")
        try:
            with open(made, "x", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.replace(made, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"The report cannot be written to {target}: {reason}.") from error
    return target.absolute()
