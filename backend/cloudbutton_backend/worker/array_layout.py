"""Pickles NumPy arrays with their layout in memory, which sums depend on in their last digits.

NumPy's own pickles keep the layout of arrays that are contiguous; any other arrives in C order. Here the
elements travel in memory laid out alike, with zeros in the gaps, and the array is rebuilt as a view of it.
Wide gaps shrink: what counts is the order of the axes, their directions and which of them join up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

Reducer = Callable[[Any], Any]

_WIDE: Final = 4
"""An array that spans so many times its size, or more, has its gaps narrowed."""
_OWN_PICKLES: Final = frozenset({"MaskedConstant", "mvoid"})
_OF_NUMPY: Final = ("__reduce__", "__reduce_ex__", "__setstate__")


def array_reducer(kind: type) -> Reducer | None:
    """Return how to reduce instances of `kind`, if they are arrays that would lose something else."""
    numpy = sys.modules.get("numpy")
    array = getattr(numpy, "ndarray", None)
    if array is None or not issubclass(kind, array):
        # pandas since 3.1 makes its blocks contiguous on the way into a pickle.
        block = getattr(sys.modules.get("pandas._libs.internals"), "Block", None)
        return None if block is None or not issubclass(kind, block) else block.__reduce__
    if kind is array:
        return reduce_array
    if kind.__name__ in _OWN_PICKLES and kind.__module__.startswith("numpy."):
        return None
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", array)
    base = masked if issubclass(kind, masked) else array
    if any(getattr(kind, name) is not getattr(base, name) for name in _OF_NUMPY):
        return None  # it has ways of its own
    return _reduce_memmap if issubclass(kind, numpy.memmap) else _reduce_subclass  # type: ignore[union-attr]


def reduce_array(array: Any) -> Any:
    """Return what pickle needs to make an `ndarray` again; `NotImplemented` if NumPy does it well."""
    import numpy

    flags, dtype = array.flags, array.dtype
    is_kept = flags.writeable or dtype.kind not in "MmOV"  # NumPy may make these writable
    if (flags.forc and flags.aligned and is_kept) or not array.nbytes:
        return NotImplemented
    if not dtype.hasobject:
        arguments = _laid_out(array)
        arguments[2].flags.writeable = flags.writeable
        return numpy.ndarray, arguments
    strides, start, nbytes = _layout(array)
    if dtype.kind not in "OV" or any(step % dtype.itemsize for step in (*strides, start)):
        return NotImplemented
    content = array.copy()  # in C order, as NumPy pickles it
    return lay_out, (content, strides, start, nbytes, flags.writeable)


def copied(array: Any) -> Any:
    """Return a writable copy of an `ndarray` without objects, in the same layout."""
    import numpy

    return array.copy(order="K") if array.flags.forc else numpy.ndarray(*_laid_out(array))


def _laid_out(array: Any) -> tuple[Any, ...]:
    """Return the arguments with which `numpy.ndarray` makes an array like this one."""
    import numpy

    strides, start, nbytes = _layout(array)
    memory = numpy.zeros(nbytes, numpy.uint8)
    arguments = (array.shape, array.dtype, memory, start, strides)
    numpy.ndarray(*arguments)[...] = array
    return arguments


def _reduce_subclass(array: Any) -> Any:
    import numpy

    return view_as, (array.view(numpy.ndarray), type(array), getattr(array, "__dict__", None))


def _reduce_memmap(array: Any) -> Any:
    import numpy

    # What it knows of its file stays here.
    return view_as, (array.view(numpy.ndarray), type(array), None)


def lay_out(
    content: Any, strides: tuple[int, ...], start: int, nbytes: int, writeable: bool
) -> Any:
    """Return an array of objects with the elements of `content`, laid out as `strides` say."""
    import numpy

    memory = numpy.zeros(nbytes // content.itemsize, content.dtype)
    at = start // content.itemsize
    array = numpy.lib.stride_tricks.as_strided(memory[at:], content.shape, strides)
    array[...] = content
    if not writeable:
        array.flags.writeable = False
    return array


def view_as(array: Any, kind: type, attributes: dict[str, Any] | None) -> Any:
    """Return `array` as one of a subclass, with what its instance held."""
    array = array.view(kind)
    if attributes:
        vars(array).update(attributes)
    return array


def _layout(array: Any) -> tuple[tuple[int, ...], int, int]:
    """Return strides, where the first element begins, and how many bytes all of them span."""
    strides, shape = array.strides, array.shape
    if _span(shape, strides) > _WIDE * array.nbytes:
        strides = _narrowed(array)
    low = sum(min(0, step * (n - 1)) for step, n in zip(strides, shape))
    start = (array.ctypes.data + low) % array.dtype.alignment - low  # as aligned as it is here
    return strides, start, start + low + _span(shape, strides) + array.itemsize


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return sum(abs(step) * (n - 1) for step, n in zip(strides, shape))


def _narrowed(array: Any) -> tuple[int, ...]:
    """Return strides with the gaps as narrow as can be; those that it has if elements overlap."""
    strides, itemsize = list(array.strides), array.itemsize
    unit = array.dtype.alignment if any(step % itemsize for step in strides) else itemsize
    joined = narrow_joined = itemsize  # the steps at which an axis joins up with those inside it
    for step, n, axis in sorted(zip(map(abs, strides), array.shape, range(array.ndim))):
        if n == 1 or not step:
            continue
        if step < joined:
            return tuple(array.strides)
        narrow = narrow_joined
        if step > joined:
            narrow += 1 + (step - narrow - 1) % unit
        strides[axis] = narrow if strides[axis] > 0 else -narrow
        joined, narrow_joined = step * n, narrow * n
    return tuple(strides)
