"""From a cell to a job, and the job shown: the magics, the button and the live view."""

from __future__ import annotations

from cloudbutton_magic.kernel.extension import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
