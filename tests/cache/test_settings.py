"""What a process has set for itself, as far as it can decide the results of a loop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import sklearn

from cloudbutton_backend.result_cache.loop_traces import digests_of, packages_behind
from cloudbutton_backend.worker.process_state import (
    SETTINGS,
    current_state,
    package_of,
    state_in_results,
)

OF_PACKAGES = {"numpy", "pandas", "sklearn", "matplotlib"}


def of_packages() -> set[str]:
    return set(map(package_of, state_in_results(current_state()))) - {""}


IMPORTED = """
import matplotlib, numpy, pandas, sklearn
from cloudbutton_backend.worker.process_state import current_state, package_of, state_in_results
print(*map(package_of, state_in_results(current_state())))
"""


def test_of_a_package_that_was_only_imported_nothing_counts() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert not OF_PACKAGES & set(said.split())


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "numpy": lambda patch: np.seterr(all="raise"),
    "pandas": lambda patch: pd.set_option("display.precision", 3),
    "sklearn": lambda patch: sklearn.set_config(assume_finite=True),
    "matplotlib": lambda patch: patch.setitem(mpl.rcParams, "lines.linewidth", 7.0),
}


@pytest.mark.parametrize("package", CHANGES)
def test_an_option_that_is_not_as_by_default_counts(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, errors, config = of_packages(), np.geterr(), sklearn.get_config()
    try:
        CHANGES[package](monkeypatch)
        assert of_packages() == before | {package}
    finally:
        np.seterr(**errors)
        sklearn.set_config(**config)
        pd.reset_option("display.precision")


@pytest.mark.parametrize(
    ("imports", "reached"),
    [
        ([], set()),
        (["os", "json"], set()),
        (["numpy"], {"numpy"}),
        (["pandas"], {"numpy", "pandas", "matplotlib"}),  # it draws with that
        (["sklearn"], {"numpy", "sklearn"}),
        (["matplotlib"], {"numpy", "matplotlib"}),
    ],
)
def test_only_what_the_code_reaches_counts_directly_or_not(
    imports: list[str], reached: set[str]
) -> None:
    settings = dict.fromkeys([*(each.name for each in SETTINGS), "the folder"], "changed")
    counted = digests_of(settings, packages_behind(imports))
    assert "the folder" in counted
    assert OF_PACKAGES & set(map(package_of, counted)) == reached
