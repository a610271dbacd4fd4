"""Any other ingredient, any other key; and what a loop was is told from anything else."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbutton_backend.capture.distributions import Distribution
from cloudbutton_backend.errors import CannotContinue, Tampered
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.result_cache import Keyer, KeyIngredients, loop_traces
from cloudbutton_backend.result_cache.code_versions import needed_by, versions_of
from cloudbutton_backend.result_cache.loop_traces import (
    LoopTrace,
    keys_file,
    read_trace,
    write_trace,
)
from cloudbutton_backend.session.launcher import JobSource
from cloudbutton_backend.session.session import Session

WORDS = st.text("abc.019", min_size=1, max_size=4)
DISTRIBUTIONS = st.lists(st.builds(Distribution, WORDS, WORDS), max_size=3).map(tuple)
INGREDIENTS = st.builds(
    KeyIngredients,
    code=WORDS,
    python=WORDS,
    machine=WORDS,
    packages=DISTRIBUTIONS,
    beneath=DISTRIBUTIONS,
    draws=st.booleans(),
    seed=st.none() | st.integers(0, 3),
)


def keys(ingredients: KeyIngredients, item: Any, index: int, drew: bool) -> list[bytes]:
    """Return all keys under which a result may be kept or found."""
    keyer = Keyer(ingredients)
    key = keyer.key_of(item)
    kept = keyer.kept_under(key, index, drew=drew)
    return [*keyer.found_under(key, index), *([kept] if kept else [])]


@given(INGREDIENTS, INGREDIENTS, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_a_result_is_found_just_where_all_ingredients_are_the_same(
    one: KeyIngredients, other: KeyIngredients, item: int, other_item: int, index: int
) -> None:
    for field in dataclasses.fields(
        KeyIngredients
    ):  # one field from the other: alike in all but one
        if field.name in ("draws", "seed", "classes"):
            continue
        changed = dataclasses.replace(one, **{field.name: getattr(other, field.name)})
        same = getattr(one, field.name) == getattr(other, field.name)
        assert (one.digest() == changed.digest()) == same
        if not same:
            assert not {*keys(one, item, index, False)} & {*keys(changed, item, index, False)}
    if item != other_item:
        assert not {*keys(one, item, index, False)} & {*keys(one, other_item, index, False)}


@given(INGREDIENTS, st.none() | st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_what_draws_is_found_for_the_same_seed_and_place_only(
    one: KeyIngredients, seed: int | None, index: int, other_index: int
) -> None:
    keyer, other = Keyer(one), Keyer(dataclasses.replace(one, seed=seed))
    key = keyer.key_of("item")
    for drew in (True, one.draws):
        kept = keyer.kept_under(key, index, drew=drew)
        found = other.found_under(other.key_of("item"), other_index)
        if not drew:
            assert kept in found
        elif one.seed is None:
            assert kept is None
        else:
            assert (kept in found) == ((one.seed, index) == (seed, other_index))


def test_packages_count_with_those_that_they_need_and_not_with_their_tests() -> None:
    (pandas,) = versions_of(["pandas", "json", "cloudbutton_backend"])
    names = {name for name, _ in needed_by([pandas])}
    assert pandas.name == "pandas" and {"numpy", "python-dateutil"} <= names
    assert not {"pandas", "hypothesis", "pytest"} & names


def test_a_package_without_metadata_counts_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "bare"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    module = types.ModuleType("bare")
    module.__path__, module.__file__ = [str(package)], str(package / "__init__.py")

    def version() -> str:
        monkeypatch.setitem(sys.modules, "bare", module)
        versions_of.__globals__["_versions_of"].cache_clear()
        ((name, found),) = versions_of(["bare"])
        assert name == "bare"
        return found

    first = version()
    assert version() == first
    (package / "part.py").write_text("x = 1")
    assert version() != first
    monkeypatch.delitem(sys.modules, "bare")
    versions_of.__globals__["_versions_of"].cache_clear()
    assert versions_of(["bare"]) == (Distribution("bare", "not installed"),)


def test_nothing_of_a_held_job_is_found_before_it_is_said_to_be_right(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    session = Session(home)
    try:
        for found, is_right in ((0, False), (0, True), (3, False)):
            options = JobOptions(cache=True)
            job = session.map(
                lambda x: x, [1, 2, 3], options=options, origin=JobSource(kind="button")
            )
            assert job.results() == [1, 2, 3] and job.progress.cached == found
            if is_right and job.cache is not None:
                job.cache.release()
    finally:
        session.close()


# -- what a loop leaves

TRACE = LoopTrace("code", {"Python": "3.11"}, {"ab" * 16: "digest"}, (b"1" * 20, bytes(20)))


def test_what_a_loop_left_comes_back_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert read_trace(tmp_path, "job1") is None
    write_trace(keys_file(tmp_path, "job1"), TRACE, tmp_path)
    assert read_trace(tmp_path, "job1") == TRACE


def test_what_a_loop_left_in_another_version_is_said_to_be_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_traces, "_FORMAT", 1)
    write_trace(keys_file(tmp_path, "job1"), TRACE, tmp_path)
    monkeypatch.undo()
    with pytest.raises(CannotContinue, match="started by another version of Cloud Button"):
        read_trace(tmp_path, "job1")


def test_what_a_loop_left_is_not_believed_of_another_or_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = keys_file(tmp_path, "job1")
    write_trace(path, TRACE, tmp_path)
    other = keys_file(tmp_path, "job2")
    other.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-40] + b"2" * 40)
    for job_id in ("job1", "job2"):
        with pytest.raises(Tampered, match=f"{job_id}.keys"):
            read_trace(tmp_path, job_id)
