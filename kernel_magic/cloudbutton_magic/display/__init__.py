"""A job shown: one view that updates in place, and the summary that stays."""

from cloudbutton_magic.display.job_view import job_html, job_text
from cloudbutton_magic.display.live_view import follow
from cloudbutton_magic.display.view_model import FailureGroup, Tone, View, view_of

__all__ = ["FailureGroup", "Tone", "View", "follow", "job_html", "job_text", "view_of"]
