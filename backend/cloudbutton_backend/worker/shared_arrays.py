"""Runs calls that were pickled with their large arrays left out: those have travelled once, for all."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cloudbutton_backend.worker.array_layout import copied

THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Where libraries look for how many threads they may use, when they are loaded."""


class CallWithSharedArrays:
    """A pickled callable and its buffers."""

    __slots__ = ("buffers", "label", "stream")

    def __init__(self, stream: bytes, buffers: list[Any], label: str) -> None:
        self.stream, self.buffers, self.label = stream, buffers, label

    def __reduce__(self) -> Any:
        return CallWithSharedArrays, (self.stream, self.buffers, self.label)

    def __repr__(self) -> str:
        return self.label

    def load(self, find: Callable[[str], Any]) -> Callable[[], Any]:
        """Return the callable; `find` returns the array of a name that was left out."""
        _here.find, before = find, getattr(_here, "find", None)
        try:
            loaded: Callable[[], Any] = pickle.loads(self.stream, buffers=self.buffers)
        finally:
            _here.find = before
        return loaded


_here: Final = threading.local()
"""What finds the arrays of the pickle being loaded."""


def left_out(name: str) -> Any:
    """Return an array that was left out of the pickle being loaded."""
    return _here.find(name)


def run_packed(
    packed: CallWithSharedArrays | None,
    *,
    threads: int | None = None,
    private: frozenset[str],
    **arrays: Any,
) -> Any:
    """Call what was packed; None stands for what was cancelled before it was sent.

    Parameters
    ----------
    threads
        How many threads numerical libraries may use; None for what the worker has as its share.
    private
        Names of the arrays of which each call has a copy of its own, for it to change.
    **arrays
        By the names that stand for them. Read-only: all calls in this worker share them.
    """
    if packed is None:
        return None

    def find(name: str) -> Any:
        if name in private:
            return copied(arrays[name])
        shared = arrays[name].view()
        shared.flags.writeable = False
        return shared

    if threads is None:
        return packed.load(find)()
    with threads_limited(threads):
        return packed.load(find)()


def map_file(
    filename: str,
    mode: str,
    start: int,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    span: tuple[int, int],
) -> Any:
    """Return an array that lies in a file, as `numpy.memmap` does.

    Parameters
    ----------
    start
        Where in the file its first element is.
    span
        First and last byte of the file that any element uses.
    """
    import numpy

    low, high = span
    mapped = numpy.memmap(filename, numpy.uint8, mode, offset=low, shape=(high - low,))
    array = numpy.ndarray(shape, dtype, mapped, start - low, strides)
    return array.view(numpy.memmap) if mode == "r+" else array


@contextlib.contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Limit the threads of numerical libraries: those already loaded, and those that will be."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    known, modules = _loaded(), len(sys.modules)
    try:
        with _limited(known, threads):
            yield
    finally:
        _restore(before)
        usual = before["OMP_NUM_THREADS"] or ""
        if len(sys.modules) > modules and usual.isdecimal():
            _limit_new(known, int(usual))


def _restore(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _loaded() -> Any:
    """Return a controller of the numerical libraries that are loaded; None where it is not installed."""
    if "numpy" not in sys.modules:
        return None
    try:
        from threadpoolctl import ThreadpoolController  # comes with scikit-learn
    except ImportError:
        return None
    return ThreadpoolController()


def _limited(loaded: Any, threads: int) -> contextlib.AbstractContextManager[Any]:
    if loaded is None:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = loaded.limit(limits=threads)
    return limits


def _limit_new(known: Any, threads: int) -> None:
    """Give libraries that were loaded meanwhile the threads that they would have taken outside."""
    old = () if known is None else {library.filepath for library in known.lib_controllers}
    now = _loaded()
    for library in () if now is None else now.lib_controllers:
        if library.filepath not in old:
            library.set_num_threads(threads)
