"""scikit-learn's GridSearchCV on the digits: what does spreading 64 fits cost beyond the fits?

Cold is the first search, with scikit-learn and the engine loaded here and no worker started; warm the
median of the next ones.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import mean, median
from typing import Any, Final

from benchmarks.machine import usable_cpus
from benchmarks.model import Case, Cell, Metric, Reading, Target

#: What joblib calls the engines that it runs on, and what it tells them. The floor is driven by hand.
JOBLIB_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "cloudbutton": {"backend": "cloudbutton"},
    "cloudbutton on dask": {"backend": "cloudbutton", "on": "dask"},
    "joblib": {"backend": "loky"},
    "multiprocessing.Pool": {"backend": "multiprocessing"},
    "dask": {"backend": "dask"},
    "ray": {"backend": "ray"},
}
GRID: Final = {"C": [0.1, 1, 10, 100], "gamma": [1e-4, 1e-3, 1e-2, 1e-1]}
FOLDS: Final = 4
WARM: Final = 3


def run(cell: Cell) -> Mapping[str, Reading]:
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    with _search(cell, images, digits) as search:
        before = _timed(lambda: _fit(images, digits, 1))[0]
        cold, found = _timed(search)
        expected = _fit(images, digits, 1)
        if found != expected:
            raise AssertionError(f"found {found} instead of {expected}")
        warm = median(_timed(search)[0] for _ in range(WARM))
        after = _timed(lambda: _fit(images, digits, 1))[0]
    ideal = mean((before, after)) / usable_cpus()
    return {"cold": cold / ideal, "warm": warm / ideal}


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def _fit(images: Any, digits: Any, n_jobs: int) -> tuple[Any, float]:
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    search = GridSearchCV(SVC(), GRID, cv=FOLDS, n_jobs=n_jobs).fit(images, digits)
    return search.best_params_, round(search.best_score_, 12)


@contextlib.contextmanager
def _search(cell: Cell, images: Any, digits: Any) -> Iterator[Callable[[], Any]]:
    """Give a function that searches on the cell's engine."""
    import joblib

    module = importlib.import_module(cell.engine.module)
    started: list[Any] = []

    def search() -> Any:
        if cell.engine.role == "floor" or cell.engine.by_invitation:
            # The others are started by joblib itself.
            started[:] = started or [module.Engine(usable_cpus())]
        if cell.engine.role == "floor":
            return _by_hand(started[0], images, digits)
        with joblib.parallel_config(**JOBLIB_NAMES[cell.engine.name]):
            return _fit(images, digits, usable_cpus())

    yield search
    for engine in started:
        engine.close()


def _by_hand(engine: Any, images: Any, digits: Any) -> tuple[Any, float]:
    """Do what the search does, without scikit-learn's and joblib's part in it."""
    from sklearn.base import clone
    from sklearn.model_selection import ParameterGrid, StratifiedKFold
    from sklearn.svm import SVC

    folds = list(StratifiedKFold(FOLDS).split(images, digits))
    candidates = list(ParameterGrid(GRID))

    def score(which: tuple[int, int]) -> float:
        train, test = folds[which[1]]
        model = clone(SVC()).set_params(**candidates[which[0]])
        model.fit(images[train], digits[train])
        return float(model.score(images[test], digits[test]))

    fits = [(c, f) for c in range(len(candidates)) for f in range(FOLDS)]
    scores = engine.map(score, fits)
    means = [mean(scores[at : at + FOLDS]) for at in range(0, len(scores), FOLDS)]
    best = max(range(len(means)), key=means.__getitem__)
    SVC(**candidates[best]).fit(images, digits)
    return candidates[best], round(means[best], 12)


CASE = Case(
    name="grid-search",
    title="GridSearchCV(SVC) on the digits, 64 fits, through joblib",
    metrics=(
        Metric(key="cold", label="cold ÷ ideal share of serial", target=Target(limit=1.12)),
        Metric(key="warm", label="warm", target=Target(limit=1.09)),
    ),
    run=run,
    among=frozenset({"floor", *JOBLIB_NAMES}),
    timeout=180.0,
)
