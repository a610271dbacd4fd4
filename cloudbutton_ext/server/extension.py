"""Registers our endpoints with a Jupyter server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jupyter_server.utils import url_path_join

from cloudbutton_ext.server import backends, jobs, spend
from cloudbutton_ext.server.context import ServerContext
from cloudbutton_ext.server.handler import NotFound
from cloudbutton_ext.server.public_paths import PublicPaths
from cloudbutton_ext.server.settings import SettingsHandler
from cloudbutton_ext.server.websocket import ChangesSocket

_ID: Final = r"([a-z0-9]{1,32})"
_NAME: Final = r"([A-Za-z0-9_.-]{1,64})"

ENDPOINTS: Final[tuple[tuple[str, type], ...]] = (
    (r"jobs", jobs.Jobs),
    (rf"jobs/{_ID}", jobs.OneJob),
    (rf"jobs/{_ID}/batches", jobs.JobBatches),
    (rf"jobs/{_ID}/errors", jobs.JobErrors),
    (rf"jobs/{_ID}/log", jobs.JobLog),
    (rf"jobs/{_ID}/report", jobs.JobReport),
    (rf"jobs/{_ID}/(cancel|retry)", jobs.JobCommandHandler),
    (r"commands/([0-9]{1,19})", jobs.OneCommand),
    (r"backends", backends.Backends),
    (rf"backends/{_NAME}/health", backends.Health),
    (rf"backends/{_NAME}/test", backends.SelfTest),
    (r"settings", SettingsHandler),
    (r"spend", spend.SpendHandler),
    (r"estimate", spend.EstimateHandler),
    (r"changes", ChangesSocket),
    (r".*", NotFound),
)
"""Below `{base_url}cloudbutton/api/`; docs/server-api.md has what each answers."""


def load(serverapp: Any) -> None:
    """Add the endpoints, below the server's own base URL."""
    context = ServerContext(PublicPaths(Path(serverapp.root_dir).absolute()))
    base = url_path_join(serverapp.web_app.settings["base_url"], "cloudbutton", "api")
    serverapp.web_app.add_handlers(
        ".*$",
        [(url_path_join(base, path), handler, {"context": context}) for path, handler in ENDPOINTS],
    )
    serverapp.web_app.settings["cloudbutton"] = context
