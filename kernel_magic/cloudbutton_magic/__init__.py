"""From a cell to a job, and the job shown: the magics, the button and the live view."""

from __future__ import annotations

from typing import Any

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_WARMER = "_cloudbutton_warmer"


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, their completion, and the warming of workers between cells."""
    from cloudbutton_magic import completion
    from cloudbutton_magic.magics import CloudMagics
    from cloudbutton_magic.warming import Warmer

    shell.register_magics(CloudMagics)
    completion.install(shell)
    if not hasattr(shell, _WARMER):
        warmer = Warmer(shell)
        setattr(shell, _WARMER, warmer)
        warmer.start()


def unload_ipython_extension(shell: Any) -> None:
    """Take back what `load_ipython_extension` registered; jobs go on."""
    from cloudbutton_magic import completion

    completion.uninstall(shell)
    warmer = shell.__dict__.pop(_WARMER, None)
    if warmer is not None:
        warmer.stop()
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("cloud", None)
