"""joblib's `Parallel`, and so scikit-learn's `n_jobs`, on any backend: `parallel_config("cloudbutton")`.

`import cloudbutton_ext` is all that is needed. joblib knows no entry points, so the name is put into its
table: now, if joblib is loaded, or else when it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module `name`: at once if it is loaded, else once it has been."""
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        act(module)
    else:
        sys.meta_path.insert(0, _Finder(name, act))


# Neither inherits from `importlib.abc`, which takes 10 ms to import: what is called is enough.


class _Finder:
    """Waits for the import of one module; then removes itself and lets the other finders find it."""

    def __init__(self, name: str, act: Callable[[ModuleType], None]) -> None:
        self._name, self._act = name, act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._act)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module with its own loader, then calls `act`, and leaves no trace of itself."""

    def __init__(self, own: object, act: Callable[[ModuleType], None]) -> None:
        self._own, self._act = own, act

    def __getattr__(self, name: str) -> object:
        return getattr(self._own, name)  # `is_package`, `get_source`, …

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own  # type: ignore[assignment]
        self._own.exec_module(module)  # type: ignore[attr-defined]
        self._act(module)


NAME: Final = "cloudbutton"


def _make(**options: Any) -> Any:
    """Make the backend; joblib calls this when the name is used."""
    from cloudbutton_ext.integrations.joblib.parallel_backend import CloudBackend

    return CloudBackend(**options)


def register_backend() -> None:
    """Register the name with joblib, without importing joblib."""
    when_imported(
        "joblib.parallel", lambda parallel: parallel.register_parallel_backend(NAME, _make)
    )
