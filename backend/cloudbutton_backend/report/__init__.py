"""One job on one page: an HTML file that needs nothing else, to keep or to share.

::

    a job of this process ─┐
                           ├─ facts ─▶ JobFacts ─▶ chart_data ─▶ charts, sections ─▶ page
    a row of the journal ──┘                (pure from here on)
"""

from cloudbutton_backend.report.facts import JobFacts
from cloudbutton_backend.report.page import page, report_of_id, report_of_job, text_of_id, write

__all__ = ["JobFacts", "page", "report_of_id", "report_of_job", "text_of_id", "write"]
