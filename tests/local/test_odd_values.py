"""Values of every kind go to a worker and come back as they were."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import pathlib
import shutil
import sys
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cloudbutton_backend.errors import JobFailed, ResultNotSendable
from cloudbutton_backend.job_model import JobOptions
from cloudbutton_backend.session.session import Session


@dataclasses.dataclass
class Data:
    numbers: list[int]


class Colour(enum.Enum):
    RED = 1


Pair = collections.namedtuple("Pair", "x y")


class Sub(np.ndarray):  # type: ignore[misc]
    """A subclass of an array."""


def read_only(array: Any) -> Any:
    array.setflags(write=False)
    return array


LARGE = np.arange(40_000.0)
ARRAYS: dict[str, Any] = {
    "a subclass": np.arange(3).view(Sub),
    "structured": np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "a record array": np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "of objects": np.array([1, "a", None, {2: 3}], dtype=object),
    "with gaps": LARGE[::2],
    "in Fortran order": np.asfortranarray(LARGE.reshape(200, 200)),
    "of no dimension": np.array(5.0),
    "empty": np.empty((0, 3)),
    "read-only": read_only(LARGE.copy()),
    "of dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "of text": np.array(["a", "bc"]),
}
SCALARS: dict[str, Any] = {
    **{str(np.dtype(code)): np.dtype(code).type(3) for code in "bBhHiIlLefdgFDG?"},
    "text": np.str_("a"),
    "bytes": np.bytes_(b"a"),
    "a date": np.datetime64("2020-01-01"),
    "a duration": np.timedelta64(3, "s"),
}
OTHERS: dict[str, Any] = {
    "a dataclass": Data([2]),
    "an enum": Colour.RED,
    "a named tuple": Pair(1, 2),
    "a huge number": 10**4000,
    "minus zero": -0.0,
    "half a character": "\ud800",
    "a time with its zone": datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    "a path": pathlib.Path("/a"),
    "a large bytearray": bytearray(b"x" * 100_000),
    "nothing at all": b"",
    "an ellipsis": ...,
    "a type": int,
    "a slice": slice(1, 2),
    "a dictionary with a default": collections.defaultdict(list, a=[1]),
}


def same(x: Any) -> Any:
    return x


def alike(values: dict[str, Any], results: list[Any]) -> list[str]:
    """Return the names of values whose result is of another type or not equal."""
    return [
        name
        for (name, value), result in zip(values.items(), results)
        if type(value) is not type(result) or repr(value) != repr(result)
    ]


@pytest.mark.parametrize("values", [SCALARS, OTHERS], ids=["scalars", "others"])
def test_a_value_comes_back_as_it_was(session: Session, values: dict[str, Any]) -> None:
    assert alike(values, session.map(same, list(values.values())).results()) == []


def test_an_array_comes_back_as_it_was(session: Session) -> None:
    results = session.map(same, list(ARRAYS.values())).results()
    for (name, array), result in zip(ARRAYS.items(), results):
        assert (type(result), result.dtype) == (type(array), array.dtype), name
        assert result.flags.writeable == array.flags.writeable, name
        np.testing.assert_array_equal(result, array, err_msg=name)


def test_a_table_of_odd_columns_comes_back_as_it_was(session: Session) -> None:
    dates = pd.to_datetime(["2020-01-01", "2020-02-01"]).tz_localize("Europe/Berlin")
    table = pd.DataFrame(
        {
            "whole": pd.array([1, None], dtype="Int64"),
            "kinds": pd.Categorical(["x", "y"]),
            "dates": dates,
            "text": pd.array(["x", None], dtype="string"),
        }
    )
    (result,) = session.map(same, [table]).results()
    pd.testing.assert_frame_equal(result, table)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_result_too_deep_to_travel_fails_alone(session: Session) -> None:
    job = session.map(nested, [10, 100_000, 5], options=JobOptions(errors="keep"))
    shallow, deep, other = job.results()
    assert (shallow, other) == (nested(10), nested(5))
    assert isinstance(deep, ResultNotSendable)


class Exits:
    def __reduce__(self) -> Any:
        raise SystemExit(3)


def test_an_item_whose_pickling_ends_the_process_fails_alone(session: Session) -> None:
    job = session.map(type, [1, Exits(), 2], options=JobOptions(errors="keep"))
    first, bad, last = job.results()
    assert (first, last) == (int, int)
    assert isinstance(bad, BaseException)


class ExitsHere:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


@pytest.mark.parametrize("kind", [Exits, ExitsHere])
def test_a_result_whose_pickling_or_reading_ends_the_process_hides_no_other(
    session: Session, kind: type
) -> None:
    job = session.map(
        lambda x: kind() if x == 1 else x, range(3), options=JobOptions(errors="keep")
    )
    first, bad, last = job.results()
    assert (first, last) == (0, 2)
    assert isinstance(bad, ResultNotSendable)
    assert job.partial() == {0: 0, 2: 2}


def test_results_whose_file_was_removed_say_so(session: Session) -> None:
    job = session.map(lambda x: np.full(200_000, x), range(2))
    assert job.wait(10)
    assert session._results is not None
    for path in session._results.glob(f"{job.id}*"):
        shutil.move(path, path.with_suffix(".gone"))
    with pytest.raises(JobFailed, match="was removed"):
        job.results()
