"""The Jupyter server extension: the journal over HTTP, for the panel in JupyterLab."""

from __future__ import annotations

from typing import Any


def _load_jupyter_server_extension(serverapp: Any) -> None:
    """Add our endpoints to a Jupyter server; this is what it calls."""
    from cloudbutton_ext.server.extension import load

    load(serverapp)
