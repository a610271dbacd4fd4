"""The four collections give what they give with Dask's own schedulers, on local workers and on Lambda's."""

from __future__ import annotations

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed

from cloudbutton_ext.integrations.dask_graphs.scheduler import DaskScheduler

FRAME = pd.DataFrame(
    {
        "kind": [f"kind {i % 5}" for i in range(200)],
        "x": np.arange(200) % 17,
        "y": np.linspace(0.0, 1.0, 200),
    }
)


def test_delayed_calls_are_what_the_plain_calls_are(ours: DaskScheduler) -> None:
    @delayed
    def power(x: int, exponent: int = 2) -> int:
        return x**exponent

    total = delayed(sum)([power(i, exponent=3) for i in range(6)])
    nested = {"total": total, "parts": [power(2), (power(3), "plain")]}
    (computed,) = dask.compute(nested, scheduler=ours)
    assert computed == {"total": 225, "parts": [4, (9, "plain")]}


def test_a_bag(ours: DaskScheduler) -> None:
    words = db.from_sequence(
        ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"], npartitions=3
    )
    counted = words.map(str.upper).filter(lambda word: "O" in word).frequencies()
    grouped = words.groupby(len, shuffle="tasks").map(lambda pair: (pair[0], sorted(pair[1])))
    results = dask.compute(words.map(len).sum(), counted, grouped, scheduler=ours)
    total, frequencies, groups = results
    assert total == 35
    assert dict(frequencies) == {"BROWN": 1, "FOX": 1, "OVER": 1, "DOG": 1}
    assert dict(groups)[4] == ["lazy", "over"]


def test_an_array(ours: DaskScheduler) -> None:
    values = np.random.default_rng(4).normal(size=(60, 50))
    array = da.from_array(values, chunks=(20, 25))
    product = (array @ array.T)[::2] + array.mean(axis=1)
    assert np.array_equal(product.compute(scheduler=ours), product.compute(scheduler="sync"))
    assert array.std().compute(scheduler=ours) == array.std().compute(scheduler="sync")


def test_a_data_frame(ours: DaskScheduler) -> None:
    frame = dd.from_pandas(FRAME, npartitions=4)
    summary = frame[frame.x > 3].groupby("kind").agg({"x": "mean", "y": ["min", "max"]})
    pd.testing.assert_frame_equal(
        summary.compute(scheduler=ours), summary.compute(scheduler="sync")
    )


def test_a_shuffle_by_tasks(ours: DaskScheduler) -> None:
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        frame = dd.from_pandas(FRAME, npartitions=3).set_index("x")
        computed = frame.compute(scheduler=ours)
    assert computed.index.is_monotonic_increasing
    assert sorted(computed.y) == sorted(FRAME.y)


def test_what_was_persisted_is_used_in_what_follows(ours: DaskScheduler) -> None:
    array = da.from_array(np.arange(12.0), chunks=4) + 1
    held = array.persist(scheduler=ours)
    assert (held * 2).sum().compute(scheduler=ours) == 2 * (np.arange(12.0) + 1).sum()


def test_the_scheduler_may_be_chosen_for_all_that_follows(ours: DaskScheduler) -> None:
    with dask.config.set(scheduler=ours):
        assert db.range(10, npartitions=2).sum().compute() == 45


@pytest.mark.parametrize("method", ["disk", "tasks"])
def test_local_workers_shuffle_through_files_as_well(local: DaskScheduler, method: str) -> None:
    with dask.config.set({"dataframe.shuffle.method": method}):
        frame = dd.from_pandas(FRAME, npartitions=3).set_index("y")
        pd.testing.assert_frame_equal(
            frame.compute(scheduler=local), frame.compute(scheduler="sync")
        )
    groups = db.from_sequence(FRAME.kind, npartitions=4).groupby(str, shuffle=method)
    assert {key: len(found) for key, found in groups.compute(scheduler=local)} == dict(
        FRAME.kind.value_counts()
    )
