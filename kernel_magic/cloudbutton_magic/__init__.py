"""Turns cells into jobs and shows them: the magics, the button and the live view."""

from __future__ import annotations

from typing import Any, Final

_HOOKS: Final = "_cloudbutton_hooks"


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, their completion, and the hooks between cells. Safe to repeat."""
    from cloudbutton_magic.kernel.completion import CompletionHook
    from cloudbutton_magic.kernel.execution_hook import ExecutionHook
    from cloudbutton_magic.kernel.magics import CloudMagics
    from cloudbutton_magic.kernel.shell_hooks import InterruptHook, WarmUpHook

    shell.register_magics(CloudMagics)
    if not hasattr(shell, _HOOKS):
        kinds = (CompletionHook, WarmUpHook, InterruptHook, ExecutionHook)
        setattr(shell, _HOOKS, [kind(shell) for kind in kinds])
        for hook in getattr(shell, _HOOKS):
            hook.register()


def unload_ipython_extension(shell: Any) -> None:
    """Take back what `load_ipython_extension` registered; jobs go on."""
    for hook in shell.__dict__.pop(_HOOKS, ()):
        hook.unregister()
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("cloud", None)
