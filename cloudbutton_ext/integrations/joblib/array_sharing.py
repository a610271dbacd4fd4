"""Pickles joblib's batches so that a large array, which many of them hold, travels once.

scikit-learn hands the same `X` and `y` to each of a search's fits. joblib's own answer is a file that
every worker maps; ours is a blob, which reaches workers on other machines, too.

Sharing goes by content, checked again for each batch: an array that the generator of the tasks has changed
in the meantime is another array. As with joblib's files, a task finds an array of `max_nbytes` or more
read-only (or, if it asks for `mmap_mode="c"`, a copy); of a smaller one it has a copy for itself.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import xxhash

from cloudbutton_backend.capture import CannotTravel, dump_items
from cloudbutton_backend.capture.pickling import Contents, ModulesFound, Special, dumps
from cloudbutton_backend.capture.replacements import bringing
from cloudbutton_backend.worker.array_layout import reduce_array
from cloudbutton_backend.worker.shared_arrays import CallWithSharedArrays, left_out, map_file

LEAST: Final = 64 * 1024
"""Smaller arrays are not worth being looked at."""
MOST_SHARED: Final = 64
"""Arrays that are shared at a time."""
_REMEMBERED: Final = 10_000
"""Arrays whose first appearance is remembered."""


@dataclass(frozen=True)
class ArraySharing:
    """The treatment of large arrays, from joblib's options."""

    max_nbytes: int | None = 1 << 20
    """Arrays from here on are not the tasks' own; None if all are."""
    mmap_mode: str | None = "r"
    shares_files: bool = True
    """Whether workers see this machine's files."""

    def is_private(self, array: Any) -> bool:
        """Whether each task may change its copy."""
        limit = self.max_nbytes
        return self.mmap_mode in (None, "c") or limit is None or array.nbytes < limit


class ArrayPacker:
    """Packs the batches of one call of `Parallel`.

    An array is shared from the second batch on that holds it, those of the first batch at once. Whenever
    there are more of them than before, `pack` says so: what is sent to the workers has to be renewed.

    Attributes
    ----------
    shared
        The arrays that are shared, by name.
    """

    def __init__(self, sharing: ArraySharing) -> None:
        self._sharing = sharing
        self.shared: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        """Names of the shared arrays, by digest."""
        self._seen: set[str] = set()
        """Digests of the arrays that went along with a batch."""
        self._count = 0
        self._begun = False

    @property
    def private(self) -> frozenset[str]:
        """Names of the arrays that each task may change."""
        return frozenset(
            name for name, array in self.shared.items() if self._sharing.is_private(array)
        )

    def pack(self, batch: Any, label: str) -> tuple[CallWithSharedArrays, bool]:
        """Return `batch` packed, and whether more arrays are shared now than before.

        Raises
        ------
        CaptureError
            If something in it cannot travel.
        """
        before = self._count
        buffers: list[pickle.PickleBuffer] = []
        try:
            stream = _dump(batch, buffers, self._special)
        except Exception:
            dump_items([batch])  # raises the same, and says where
            raise
        self._begun = True
        more = self._count > before
        if more:
            self._evict_changed()
        return CallWithSharedArrays(stream, buffers, label), more

    def _special(self, kind: type) -> Callable[[Any], Any] | None:
        """Return how instances of a type are reduced, if they are arrays."""
        is_array = kind.__module__ == "numpy" and kind.__name__ in ("ndarray", "memmap")
        return self._reduce if is_array else None

    def _reduce(self, array: Any) -> Any:
        in_file = None if array.base is None else _place_in_file(array)
        if in_file is not None and self._sharing.shares_files:
            return map_file, in_file
        if in_file is not None and in_file[1] == "r+":
            raise CannotTravel(
                in_file[0],
                "a file that is mapped for writing, and the workers do not see this machine's files",
                "Return the values instead, and write them here.",
            )
        if array.nbytes < LEAST or array.dtype.hasobject:
            return reduce_array(array)
        name = self._name(array)
        return reduce_array(array) if name is None else (left_out, (name,))

    def _name(self, array: Any) -> str | None:
        """Return the name of an array that is shared; None if it goes along."""
        digest = _digest(array)
        if digest in self._names:
            name = self._names[digest]
            self.shared[name] = _plain(
                array
            )  # the array with this content now; another may have lost it
            return name
        if self._begun and digest not in self._seen:
            if len(self._seen) < _REMEMBERED:
                self._seen.add(digest)
            return None
        return self._share(digest, array)

    def _evict_changed(self) -> None:
        """Drop arrays that were changed since they were shared: their names stand for the old content."""
        for digest, name in list(self._names.items()):
            if _digest(self.shared[name]) != digest:
                del self.shared[name], self._names[digest]

    def _share(self, digest: str, array: Any) -> str | None:
        if len(self.shared) >= MOST_SHARED:
            return None
        name = self._names[digest] = f"array{self._count}"
        self.shared[name] = _plain(array)
        self._count += 1
        return name


def _dump(batch: Any, buffers: list[pickle.PickleBuffer], special: Special) -> bytes:
    def dump(value: Any, has_modules: bool) -> tuple[bytes, Contents]:
        buffers.clear()
        return dumps(
            value, buffer_callback=buffers.append, special=special, has_modules=has_modules
        )

    try:
        stream, contents = dump(batch, False)
    except ModulesFound:
        stream, contents = dump(batch, True)
    brought = bringing(batch, contents)
    return stream if brought is batch else dump(brought, True)[0]


def _plain(array: Any) -> Any:
    """Return a `numpy.memmap` as the array that it is: elsewhere there is no file behind it."""
    import numpy

    return numpy.asarray(array)


def _digest(array: Any) -> str:
    import numpy

    if array.flags.f_contiguous:
        content = array.T
    else:
        content = numpy.ascontiguousarray(array)
    about = f"{array.dtype!r}{array.shape}{array.strides}{array.flags.aligned}"
    state = xxhash.xxh3_128(about.encode())
    state.update(content.reshape(-1).view(numpy.uint8))
    return str(state.hexdigest())


def _place_in_file(array: Any) -> tuple[Any, ...] | None:
    """Return the arguments of `map_file` for an array that lies in a file; None if it does not."""
    import numpy

    base = array
    while base is not None and not isinstance(base, numpy.memmap):
        base = getattr(base, "base", None)
    while base is not None and isinstance(base.base, numpy.memmap):
        base = base.base  # the first of them knows where in the file it begins
    if base is None or base.filename is None or not os.path.exists(base.filename):
        return None
    address = array.ctypes.data
    begin = base.offset - base.ctypes.data
    low = address + sum(min(0, step * (n - 1)) for step, n in zip(array.strides, array.shape))
    high = address + sum(max(0, step * (n - 1)) for step, n in zip(array.strides, array.shape))
    mode = "r+" if base.mode in ("r+", "w+") else base.mode
    return (
        os.path.abspath(base.filename),
        mode,
        address + begin,
        array.dtype.str if array.dtype.names is None else array.dtype,
        array.shape,
        array.strides,
        (low + begin, high + begin + array.itemsize),
    )
