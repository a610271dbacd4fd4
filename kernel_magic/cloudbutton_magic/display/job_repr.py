"""A `Job` drawn once: its rich repr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from cloudbutton_backend.job_model import BatchRecord, Progress
from cloudbutton_magic.display.failure_groups import failure_groups
from cloudbutton_magic.display.html import html_of
from cloudbutton_magic.display.text import text_of
from cloudbutton_magic.display.timeline import summary_timeline
from cloudbutton_magic.display.view_model import View, view_of


class Drawable(Protocol):
    """What of a job a view looks at."""

    @property
    def id(self) -> str: ...
    @property
    def progress(self) -> Progress: ...
    def errors(self) -> Mapping[int, BaseException]: ...
    def timeline(self) -> Sequence[BatchRecord]: ...


#: Beyond this many, failed items are counted but not compared: each is an exception to rebuild.
MAX_COMPARED: Final = 1000


def job_view(job: Drawable, targets: Sequence[str] = ()) -> View:
    """Return the view of a job as it is now."""
    progress = job.progress
    compare = progress.state.is_final and 0 < progress.failed <= MAX_COMPARED
    groups = failure_groups(job.errors(), targets) if compare else []
    return view_of(progress, failures=groups)


def job_text(job: Drawable) -> str:
    """Return a job as text, one line if all is well."""
    return text_of(job_view(job))


def job_html(job: Drawable) -> str:
    """Return a job as HTML, with its timeline once it has ended."""
    view = job_view(job)
    return html_of(view, summary_timeline(job.timeline()) if view.is_final else None)
