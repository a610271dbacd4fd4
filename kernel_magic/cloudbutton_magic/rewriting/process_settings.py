"""Settings of the process that change results, taken along to the workers.

``np.seterr(all='raise')``, ``warnings.simplefilter('error')``, ``pd.set_option(…)`` in a cell
above the loop hold in the kernel only. Travels to the workers by value: standard library only.
Packages are spoken of by name: a worker that does not have one runs a loop that does not use it.
"""

from __future__ import annotations

import decimal
import importlib
import os
import sys
import threading
import warnings
from typing import Any, Final

_PATIENCE: Final = 5.0
"""Seconds to wait for a thread that does next to nothing."""


def current_settings() -> dict[str, Any]:
    """Return the habits of this process, as far as its imports have any."""
    settings: dict[str, Any] = {
        "filters": [_named(*each) for each in warnings.filters if not _is_kernels(each[2])],
        "decimal": decimal.getcontext().copy(),
        "recursion": sys.getrecursionlimit(),
        "directory": _directory(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        settings["numpy"] = numpy.geterr(), numpy.get_printoptions()
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        settings["pandas"] = _pandas_options()
    sklearn = sys.modules.get("sklearn")
    if sklearn is not None:
        settings["sklearn"] = sklearn.get_config()
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None:
        default = matplotlib.rcParamsDefault
        settings["matplotlib"] = {
            key: value
            for key, value in dict.items(matplotlib.rcParams)
            if "backend" not in key and default.get(key) != value
        }
    return settings


def settings_in_results(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what of habits can decide a result, by name: only what is not as by default.

    So it is the same where a package was only imported. Some set filters of warnings, which decide what is
    shown, unless one makes errors of them.
    """
    settings = dict(settings)
    if "numpy" in settings:
        settings["numpy"] = [
            {name: value for name, value in own.items() if value != default.get(name)}
            for own, default in zip(settings["numpy"], _NUMPY)
        ]
        if not any(settings["numpy"]):
            del settings["numpy"]
    if "sklearn" in settings and settings["sklearn"] == _sklearn_defaults():
        del settings["sklearn"]
    filters, context = settings["filters"], settings["decimal"]
    terms = (
        context.prec,
        context.rounding,
        context.Emin,
        context.Emax,
        context.capitals,
        context.clamp,
    )
    return {
        **{name: value for name, value in settings.items() if value},
        "filters": filters if any(action == "error" for action, *_ in filters) else [],
        "decimal": (
            *terms,
            sorted(trap.__name__ for trap, is_set in context.traps.items() if is_set),
        ),
    }


def apply_settings(settings: dict[str, Any]) -> None:
    """Make this process behave as the one that `settings` were taken from."""
    warnings.resetwarnings()  # also tells the warnings machinery that filters changed
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    filters[:] = [each for named in settings["filters"] if (each := _found(*named)) is not None]
    decimal.setcontext(settings["decimal"].copy())
    if settings["recursion"] > sys.getrecursionlimit():
        sys.setrecursionlimit(settings["recursion"])
    if settings["directory"] and os.path.isdir(settings["directory"]):
        os.chdir(settings["directory"])
    if "numpy" in settings and (numpy := _module("numpy")) is not None:
        errors, printing = settings["numpy"]
        numpy.seterr(**errors)
        numpy.set_printoptions(**printing)
    if settings.get("pandas") and (pandas := _module("pandas")) is not None:
        for key, value in settings["pandas"].items():
            pandas.set_option(key, value)
    if "sklearn" in settings and (sklearn := _module("sklearn")) is not None:
        sklearn.set_config(**settings["sklearn"])
    if settings.get("matplotlib") and (matplotlib := _module("matplotlib")) is not None:
        matplotlib.rcParams.update(settings["matplotlib"])


def same_settings(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two processes have the same habits."""
    return all(repr(one.get(key, value)) == repr(value) for key, value in other.items())


def _module(name: str) -> Any:
    """Return a module, None if it is not here."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _is_kernels(category: Any) -> bool:
    """Tell whether a filter is the kernel's own, which workers would import all of IPython for."""
    return category.__module__.partition(".")[0] in ("IPython", "ipykernel")


def _named(action: str, message: Any, category: Any, module: Any, line: int) -> tuple[Any, ...]:
    """Return a filter of warnings with its category by name."""
    where = category.__module__, category.__qualname__
    return action, message, category if where[0] in _OWN else where, module, line


def _found(action: str, message: Any, category: Any, module: Any, line: int) -> Any:
    """Return a filter with its category; None where nothing can give such a warning."""
    if isinstance(category, tuple):
        category = getattr(_module(category[0]), category[1], None)
    return None if category is None else (action, message, category, module, line)


_NUMPY: Final[tuple[dict[str, Any], ...]] = (
    {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    {
        "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False,
        "linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None, "legacy": False,
        "override_repr": None,
    },
)  # fmt: skip
"""What NumPy's error handling and printing are by default."""

_OWN: Final = ("builtins", "__main__")
"""Modules whose categories travel as they are: they are everywhere, or the user's."""


def _sklearn_defaults() -> dict[str, Any] | None:
    """Return what a new thread has: scikit-learn keeps a configuration for each."""
    sklearn, found = sys.modules.get("sklearn"), list[dict[str, Any]]()
    if sklearn is None:
        return None
    thread = threading.Thread(target=lambda: found.append(sklearn.get_config()))
    thread.start()
    thread.join(_PATIENCE)
    return found[0] if found else None


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _pandas_options() -> dict[str, Any]:
    """Return the options that are not at their default."""
    try:
        config = importlib.import_module("pandas._config.config")
        return {
            key: config.get_option(key)
            for key, option in config._registered_options.items()
            if key not in config._deprecated_options and config.get_option(key) != option.defval
        }
    except Exception:
        return {}
