"""Options, backends and jobs by name, and what is said of those that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

import cloudbutton_ext as cloud
from cloudbutton_backend.errors import UnknownName, UsageError


def test_every_public_name_is_there() -> None:
    for name in cloud.__all__:
        assert getattr(cloud, name) is not None
        assert name in dir(cloud)
    with pytest.raises(AttributeError, match="no attribute 'mapp'"):
        cloud.mapp


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0}, "one or more"),
        ({"workers": -2}, "one or more"),
        ({"workers": "many"}, "workers"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"memory": 0}, "memory"),
        ({"errors": "ignore"}, "`raise`"),
        ({"seed": -1}, "seed"),
        ({"budget": -1}, "budget"),
        ({"backend": "lokal"}, "Did you mean `local`"),
        ({"wrokers": 2}, "Did you mean `workers`"),
        ({"timeuot": 2}, "Did you mean `timeout`"),
        ({"zzz": 2}, "Unknown option `zzz`. Known: backend,"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_starts(
    options: dict[str, Any], text: str
) -> None:
    before = cloud.jobs()
    with pytest.raises(UsageError) as caught:
        cloud.map(abs, [1], **options)
    assert text in str(caught.value)
    assert cloud.jobs() == before


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean `local`"):
        cloud.use("locl")
    assert cloud.map(abs, [-1]).results() == [1]


def test_an_unknown_setting_of_a_backend_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean `workers`"):
        cloud.use("local", wokers=3)
    assert cloud.map(abs, [-1]).results() == [1]


def test_jobs_are_found_by_the_start_of_their_id() -> None:
    first, second = cloud.map(abs, [1], name="first"), cloud.map(abs, [2], name="second")
    assert cloud.jobs()[:2] == [second, first]
    assert cloud.job(first.id) is first
    unique = next(
        n for n in range(1, 9) if sum(j.id.startswith(first.id[:n]) for j in cloud.jobs()) == 1
    )
    assert cloud.job(first.id[:unique]) is first
    wrong = ("2" if first.id[0] != "2" else "3") + first.id[1:]
    with pytest.raises(UnknownName, match=f"Did you mean `{first.id}`"):
        cloud.job(wrong)
    with pytest.raises(UnknownName):
        cloud.job("")


def test_a_start_that_fits_two_jobs_names_both(session: Any, monkeypatch: Any) -> None:
    first, second = cloud.map(abs, [1]), cloud.map(abs, [2])
    monkeypatch.setattr(session, "_jobs", {"abc2": first, "abd3": second})
    with pytest.raises(UsageError, match="`ab` could be job abd3, abc2"):
        cloud.job("ab")
    assert cloud.job("abc") is first


def test_explain_tells_what_would_travel() -> None:
    import numpy as np

    large, small = np.zeros(100_000), 5
    report = cloud.explain(lambda x: large[x] + small)
    sizes = {value.name: value.nbytes for value in report.values}
    assert sizes["large"] >= 800_000 and "large" in str(report)
    job = cloud.map(lambda x: large[x] + small, [1])
    assert job.results() == [5.0]
    assert {value.name for value in job.explain().values} == set(sizes)
