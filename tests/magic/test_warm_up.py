"""What workers import ahead."""

from __future__ import annotations

import collections
import json
import types
from pathlib import Path

import numpy as np
import pytest
from numpy.linalg import norm

from cloudbutton_magic.kernel.shell_hooks import imported_packages


def test_installed_packages_are_imported_ahead() -> None:
    assert imported_packages({"np": np, "norm": norm}) >= {"numpy", "numpy.linalg"}


def test_what_costs_nothing_or_may_change_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_own_module.py").write_text("def f(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import users_own_module  # type: ignore[import-not-found]

    namespace = {
        "json": json,
        "Counter": collections.Counter,
        "own": users_own_module,
        "own_f": users_own_module.f,
        "f": types.FunctionType((lambda: 0).__code__, {"__name__": "__main__"}),
        "_hidden": np,
        "data": [1, 2],
    }
    assert imported_packages(namespace) == set()
