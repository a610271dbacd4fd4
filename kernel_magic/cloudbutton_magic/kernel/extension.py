"""Load and unload the IPython extension: the magics, their completion, and the hooks between cells."""

from __future__ import annotations

from typing import Any

_HOOKS = "_cloudbutton_hooks"


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, their completion, and what happens between cells."""
    from cloudbutton_magic.kernel import completion
    from cloudbutton_magic.kernel.execution_hook import ExecutionHook
    from cloudbutton_magic.kernel.interrupts import InterruptHook
    from cloudbutton_magic.kernel.magics import CloudMagics
    from cloudbutton_magic.kernel.warm_up import WarmUpHook

    shell.register_magics(CloudMagics)
    completion.install(shell)
    if not hasattr(shell, _HOOKS):
        hooks = (WarmUpHook(shell), InterruptHook(shell), ExecutionHook(shell))
        setattr(shell, _HOOKS, hooks)
        for hook in hooks:
            hook.start()


def unload_ipython_extension(shell: Any) -> None:
    """Take back what `load_ipython_extension` registered; jobs go on."""
    from cloudbutton_magic.kernel import completion

    completion.uninstall(shell)
    for hook in shell.__dict__.pop(_HOOKS, ()):
        hook.stop()
    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("cloud", None)
