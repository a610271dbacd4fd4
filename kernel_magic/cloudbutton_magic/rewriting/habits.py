"""What a process has set for itself that changes results: taken along to the workers.

``np.seterr(all='raise')``, ``warnings.simplefilter('error')``, ``pd.set_option(…)`` in a cell
above the loop hold in the kernel only. Travels to the workers by value: standard library only.
"""

from __future__ import annotations

import decimal
import os
import sys
import warnings
from typing import Any


def current() -> dict[str, Any]:
    """Return the habits of this process, as far as its imports have any."""
    habits: dict[str, Any] = {
        "filters": list(warnings.filters),
        "decimal": decimal.getcontext().copy(),
        "recursion": sys.getrecursionlimit(),
        "directory": _directory(),
    }
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        habits["numpy"] = numpy.geterr(), numpy.get_printoptions()
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        habits["pandas"] = _pandas_options()
    sklearn = sys.modules.get("sklearn")
    if sklearn is not None:
        habits["sklearn"] = sklearn.get_config()
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None:
        default = matplotlib.rcParamsDefault
        habits["matplotlib"] = {
            key: value
            for key, value in dict.items(matplotlib.rcParams)
            if "backend" not in key and default.get(key) != value
        }
    return habits


def adopt(habits: dict[str, Any]) -> None:
    """Make this process behave as the one that `habits` were taken from."""
    warnings.resetwarnings()  # also tells the warnings machinery that filters changed
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    filters[:] = habits["filters"]
    decimal.setcontext(habits["decimal"].copy())
    if habits["recursion"] > sys.getrecursionlimit():
        sys.setrecursionlimit(habits["recursion"])
    if habits["directory"] and os.path.isdir(habits["directory"]):
        os.chdir(habits["directory"])
    if "numpy" in habits:
        import numpy

        errors, printing = habits["numpy"]
        numpy.seterr(**errors)
        numpy.set_printoptions(**printing)
    if habits.get("pandas"):
        import pandas

        for key, value in habits["pandas"].items():
            pandas.set_option(key, value)
    if "sklearn" in habits:
        import sklearn

        sklearn.set_config(**habits["sklearn"])
    if habits.get("matplotlib"):
        import matplotlib

        matplotlib.rcParams.update(habits["matplotlib"])


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two processes have the same habits."""
    return all(repr(one.get(key, value)) == repr(value) for key, value in other.items())


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _pandas_options() -> dict[str, Any]:
    """Return the options that are not at their default."""
    try:
        from pandas._config import config

        return {
            key: config.get_option(key)
            for key, option in config._registered_options.items()
            if key not in config._deprecated_options and config.get_option(key) != option.defval
        }
    except Exception:
        return {}
