"""Gets workers ready between cells: processes started, the notebook's imports done there too."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from cloudbutton_backend.capture import user_module
from cloudbutton_backend.errors import CloudError
from cloudbutton_backend.session import session
from cloudbutton_backend.settings import resolve


def imported_packages(namespace: Mapping[str, Any]) -> set[str]:
    """Return the modules that a notebook's names come from, of installed packages only.

    The notebook's own modules may change under the user's hands, so they travel by value and are
    not imported ahead; the standard library costs next to nothing.
    """
    found = set()
    for name, value in list(namespace.items()):
        if name.startswith("_"):
            continue
        if isinstance(value, ModuleType):
            module_name: Any = value.__name__
        elif isinstance(value, type) or callable(value):
            module_name = getattr(value, "__module__", None)
        else:
            continue
        if isinstance(module_name, str) and _is_worth_importing(module_name):
            found.add(module_name)
    return found


def _is_worth_importing(name: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top.startswith(("cloudbutton_", "IPython")):
        return False
    module = sys.modules.get(name)
    return module is not None and top != "__main__" and not user_module(module)


class WarmUpHook:
    """Hooked to a shell's cells; tells the session of each new import once."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._told: set[str] = set()

    def start(self) -> None:
        """Have workers start in the background, unless the settings say otherwise.

        What is wrong with the settings is said by the first cell that needs them; it may be mended then.
        """
        with contextlib.suppress(CloudError):
            if resolve().prewarm:
                session.current().warm_up()
                self._shell.events.register("post_run_cell", self.after_cell)

    def stop(self) -> None:
        """Listen no longer."""
        if self.after_cell in self._shell.events.callbacks["post_run_cell"]:
            self._shell.events.unregister("post_run_cell", self.after_cell)

    def after_cell(self, result: Any = None) -> None:
        """Pass on what the cell has imported."""
        new = imported_packages(self._shell.user_ns) - self._told
        if new:
            self._told |= new
            session.current().warm_imports(sorted(new))
