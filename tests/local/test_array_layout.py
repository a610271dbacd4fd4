"""Arrays arrive laid out in memory as they are here, so that sums are equal to the last bit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cloudbutton_backend.capture import dump_items
from cloudbutton_backend.session.session import Session
from cloudbutton_backend.worker.pickling import dumps

DTYPES = [
    "f8",
    ">f8",
    "f4",
    "f2",
    "g",
    "c16",
    "i4",
    "b",
    "?",
    "M8[s]",
    "U3",
    "S5",
    "O",
    "i1,f8",
    "f8,O",
]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Arrays of every order of axes, direction, step and alignment."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(1, 13), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    numbers = rng.random(shape) * 10.0 ** rng.integers(-2, 2, shape)
    array = _of(numbers, dtype, draw(st.booleans()))
    steps = st.sampled_from([1, 1, 2, 3, -1, -2])
    array = array[tuple(slice(draw(st.sampled_from([None, 1])), None, draw(steps)) for _ in shape)]
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    if draw(st.integers(0, 5)) == 0:
        array = np.broadcast_to(array, (3, *array.shape))
    if draw(st.integers(0, 5)) == 0:
        array = array.view()
        array.flags.writeable = False
    return array


def _of(numbers: Any, dtype: Any, packed: bool) -> Any:
    """Return an array of `dtype`; if it may be, as a field of packed records, where it is not aligned."""
    if dtype.names:
        array = np.zeros(numbers.shape, dtype)
        for name in dtype.names:
            array[name] = numbers
        return array
    if packed and not dtype.hasobject:
        array = np.zeros(numbers.shape, [("a", "i1"), ("b", dtype)])["b"]
    else:
        array = np.zeros(numbers.shape, dtype)
    array[...] = numbers if dtype.kind != "M" else numbers.astype(int)
    return array


FLAGS = ("writeable", "aligned", "c_contiguous", "f_contiguous")


def layout(array: Any) -> list[Any]:
    """Return what shows how an array lies in memory: its flags, and sums to the last bit."""
    flags = [getattr(array.flags, name) for name in FLAGS]
    found: list[Any] = [type(array).__name__, array.dtype, array.shape, *flags, repr(array)]
    if array.dtype.kind in "fc" and array.size:
        for axis in (None, *range(array.ndim)):
            found.append(np.sum(array, axis=axis).tobytes())
    if array.dtype.kind == "O":
        found += [repr(array.sum())]
    return found


@settings(max_examples=500, deadline=None)
@given(arrays())
def test_any_array_is_laid_out_as_it_was(array: Any) -> None:
    assume(array.size)
    assert layout(pickle.loads(dumps(array))) == layout(array)
    stream, *buffers = dump_items([array])
    (copy,) = pickle.loads(stream, buffers=[_buffer(part) for part in buffers])
    assert layout(copy) == layout(array)


def _buffer(part: Any) -> Any:
    return bytes(part) if memoryview(part).readonly else bytearray(part)


class Tagged(np.ndarray):  # type: ignore[misc]
    """A subclass whose instances hold something."""

    tag = "none"


def tagged(array: Any) -> Any:
    array = array.view(Tagged)
    array.tag = "mine"
    return array


SQUARE = np.random.default_rng(1).normal(size=(300, 301)) * 10.0 ** np.arange(-3, 298).clip(-3, 3)
ODD: dict[str, Any] = {
    "every other row of the transposed": SQUARE.T[::2],
    "with gaps between rows": SQUARE[:, :-1],
    "backwards": SQUARE[::-1, ::-1],
    "one column": SQUARE[:, 7],
    "axes in another order": SQUARE[:150].reshape(5, 30, 301).transpose(1, 0, 2),
    "windows": np.lib.stride_tricks.sliding_window_view(SQUARE[0], 40),
    "one row many times": np.broadcast_to(SQUARE[0], (200, 301)),
    "a subclass": tagged(SQUARE.T[::2]),
    "masked": np.ma.masked_greater(SQUARE.T[::2], 1.0),
    "masked, of few": np.ma.masked_array(np.arange(6.0), mask=[0, 1, 0, 0, 1, 1]),
    "a matrix": SQUARE[:9, :9].view(np.matrix).T[::2],
    "records": np.rec.array([(1, 2.5), (2, 0.1)] * 9, dtype=[("a", "i1"), ("b", float)])[::2],
    "of objects": SQUARE[:9, :9].astype(object).T[::2],
    "a table": pd.DataFrame(SQUARE).T[::2],
    "a column": pd.DataFrame(SQUARE)[5],
}


def show(value: Any) -> list[Any]:
    """Return how the array lies, wherever it is: alone, or inside something else."""
    if isinstance(value, dict):
        value = value["x"]
    if isinstance(value, list):
        value = value[0]
    about = [getattr(value, "tag", ""), str(getattr(value, "_mask", ""))]
    array = value.to_numpy() if isinstance(value, (pd.DataFrame, pd.Series)) else value
    return [*about, *layout(np.asarray(array))[1:]]


@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"x": [v]}], ids=["", "list", "dict"]
)
def test_an_item_is_summed_there_as_here(session: Session, wrap: Callable[[Any], Any]) -> None:
    there = session.map(show, [wrap(value) for value in ODD.values()]).results()
    for name, shown in zip(ODD, there):
        assert shown == show(ODD[name]), name


@pytest.mark.parametrize("name", ODD)
def test_a_captured_array_is_summed_there_as_here(session: Session, name: str) -> None:
    value = ODD[name]
    (there,) = session.map(lambda _: show(value), [0]).results()
    there[4] = show(value)[4]  # large ones are shared, hence read-only
    assert there == show(value)


@pytest.mark.parametrize("name", ODD)
def test_a_result_is_summed_here_as_there(session: Session, name: str) -> None:
    (back,) = session.map(lambda value: value, [ODD[name]]).results()
    assert type(back) is type(ODD[name])
    assert show(back) == show(ODD[name])
