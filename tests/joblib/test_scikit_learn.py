"""scikit-learn's `n_jobs` runs on our backend, with the results that it has on joblib's own."""

from __future__ import annotations

import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import cloudbutton_ext as cloud


def search() -> Any:
    grid = {"C": [0.1, 10], "gamma": [1e-4, 1e-3]}
    return GridSearchCV(SVC(), grid, cv=3, n_jobs=-1)


def scores(found: Any) -> dict[str, Any]:
    return {name: list(values) for name, values in found.cv_results_.items() if "time" not in name}


def test_a_search_over_the_digits_finds_what_lokys_finds() -> None:
    images, digits = (part[:400] for part in load_digits(return_X_y=True))
    with joblib.parallel_config("loky", n_jobs=2):
        theirs = search().fit(images, digits)
    with joblib.parallel_config("cloudbutton"):
        ours = search().fit(images, digits)
    assert scores(ours) == scores(theirs)
    assert ours.best_params_ == theirs.best_params_ and ours.best_score_ == theirs.best_score_
    assert np.array_equal(ours.predict(images), theirs.predict(images))
    assert cloud.jobs()[0].explain().blobs_nbytes == pytest.approx(images.nbytes, rel=0.02)


class Majority(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator of the notebook's own."""

    def fit(self, X: Any, y: Any) -> Majority:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.most_)


FLOWERS, KINDS = load_iris(return_X_y=True)
USES = {
    "cross_validate": lambda: cross_validate(
        make_pipeline(StandardScaler(), LogisticRegression()), FLOWERS, KINDS, n_jobs=-1
    )["test_score"],
    "a table": lambda: cross_validate(
        LogisticRegression(max_iter=500), load_iris(as_frame=True).data, KINDS, n_jobs=-1
    )["test_score"],
    "an estimator of one's own": lambda: cross_validate(Majority(), FLOWERS, KINDS, n_jobs=-1)[
        "test_score"
    ],
    "a forest": lambda: (
        RandomForestClassifier(20, random_state=1, n_jobs=-1)
        .fit(FLOWERS, KINDS)
        .predict_proba(FLOWERS)
    ),
    "one against the rest": lambda: (
        OneVsRestClassifier(SVC(), n_jobs=-1).fit(FLOWERS, KINDS).decision_function(FLOWERS)
    ),
    "a learning curve": lambda: learning_curve(
        SVC(), FLOWERS, KINDS, n_jobs=-1, shuffle=True, random_state=1
    )[2],
}


@pytest.mark.parametrize("use", USES)
def test_what_runs_on_it_gives_what_runs_here(use: str) -> None:
    with joblib.parallel_config("sequential"):
        here = USES[use]()
    with joblib.parallel_config("cloudbutton"):
        there = USES[use]()
    assert np.array_equal(here, there)


def test_a_fit_that_fails_warns_as_scikit_learn_does() -> None:
    with joblib.parallel_config("cloudbutton"), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = GridSearchCV(SVC(), {"C": [-1, 1]}, cv=3, n_jobs=-1).fit(FLOWERS, KINDS)
    assert list(np.isnan(found.cv_results_["mean_test_score"])) == [True, False]
    assert "FitFailedWarning" in {warning.category.__name__ for warning in seen}
