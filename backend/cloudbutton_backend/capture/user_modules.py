"""Finds the user's own modules, and the functions and classes that travel by value."""

from __future__ import annotations

import functools
import site
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from cloudpickle import cloudpickle as _cloudpickle

#: Run beside the user's function anyway, even when this project is a checkout.
_OURS: Final = frozenset({"cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend"})
_MAINS: Final = frozenset({"__main__", "__mp_main__"})

_verdicts: WeakKeyDictionary[ModuleType, bool] = WeakKeyDictionary()


def user_module(module: ModuleType) -> bool:
    """Return whether `module` is the user's own: importable here, but not installed.

    The notebook itself (``__main__``), files and packages beside it, namespace packages and
    modules made by hand are; the standard library, everything under site-packages, compiled
    extensions and this project are not. The verdict is kept for as long as the module lives.
    """
    try:
        return _verdicts[module]
    except KeyError:
        verdict = _verdicts[module] = _is_users(module)
        return verdict
    except TypeError:  # stand-ins for modules that cannot be weakly referenced
        return _is_users(module)


def by_value(obj: FunctionType | type) -> bool:
    """Return whether a function or class travels as code rather than as a name to import."""
    name: str | None = obj.__module__
    if name in _MAINS:
        return True
    if isinstance(obj, FunctionType) and obj.__globals__.get("__name__") in _MAINS:
        return True  # it may stand in the place of the function whose name it has
    if name == "cloudpickle.cloudpickle" or (name == "builtins" and isinstance(obj, type)):
        return False  # what every pickle is full of
    if name is None:  # code run in a bare namespace; searching every module for it is slow
        return True
    module = sys.modules.get(name)
    if module is not None and user_module(module):
        return True
    # Of an installed module: by name, unless it was made inside a function there.
    return not _cloudpickle._should_pickle_by_reference(obj)


def users_code(value: Any) -> bool:
    """Whether code of the user's is behind a value that was found in a library."""
    while True:
        if isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, (functools._lru_cache_wrapper, staticmethod, classmethod)):
            value = value.__wrapped__
        elif isinstance(value, property):
            value = value.fget
        elif "_accessor" in getattr(value, "__dict__", ()):  # registered with pandas or xarray
            value = value._accessor
        else:
            break
    if isinstance(value, FunctionType):  # its `__module__` may be that of the function it wraps
        home = value.__globals__.get("__name__")
    elif isinstance(value, type):
        home = value.__module__
    else:
        return False
    if home == "__main__":
        return True
    module = sys.modules.get(home) if isinstance(home, str) else None
    return module is not None and user_module(module)


def own_namespace(namespace: dict[str, Any]) -> ModuleType | None:
    """Return the user's module whose global namespace is `namespace`; not the notebook."""
    name = namespace.get("__name__")
    if name in _MAINS or not isinstance(name, str):
        return None
    module = sys.modules.get(name)
    if module is None or module.__dict__ is not namespace or not user_module(module):
        return None
    return module


def is_installed(namespace: dict[str, Any]) -> bool:
    """Return whether `namespace` is that of an installed module's code."""
    name = namespace.get("__name__")
    if name in _MAINS or not isinstance(name, str):
        return False
    module = sys.modules.get(name)
    return module is not None and not user_module(module)


def top_level(name: str) -> str:
    """Return the top-level package of a dotted name."""
    return name.partition(".")[0]


def _is_users(module: ModuleType) -> bool:
    name = module.__name__
    if name in _MAINS:
        return True
    top = top_level(name)
    if top in _OURS or top in sys.builtin_module_names:
        return False
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.origin in ("built-in", "frozen"):
        return False
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return not file.endswith(tuple(EXTENSION_SUFFIXES)) and not _is_installed(file)
    path = getattr(module, "__path__", None)
    if path is not None:
        return not any(_is_installed(str(folder)) for folder in path)
    if top in sys.stdlib_module_names:
        return False
    # Made by hand, in a notebook or by a package for itself (`six.moves`).
    parent = sys.modules.get(top)
    return parent is None or parent is module or user_module(parent)


def _is_installed(file: str) -> bool:
    path = PurePath(file)
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> tuple[PurePath, ...]:
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(key) for key in keys}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    return tuple(PurePath(folder) for folder in folders if folder)
