"""Loads what workers send back, without letting it redefine the notebook's classes.

An instance of a notebook class returns with the class by value, under the same tracker id, and
cloudpickle finds the live class by that id; but then it sets every attribute of the class to what
the worker sent: the methods would become copies whose globals are those of the time of capture.
Here a class that is already known is left as it is.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cloudbutton_backend.worker import classes
from cloudbutton_backend.worker.wire import Buffer


class ResultUnpickler(pickle.Unpickler):
    """Unpickles results; classes that live here keep their definition."""

    def __init__(self, stream: Any, *, buffers: Iterable[Any] | None = None) -> None:
        super().__init__(stream, buffers=buffers)
        self._live: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module == classes.__name__:
            if name in ("make_class", "make_enum"):
                return functools.partial(self._make, getattr(classes, name))
            if name == "fill_class":
                return self._fill
        return super().find_class(module, name)

    def _make(self, make: Callable[..., Any], *args: Any) -> Any:
        live = classes.known_class(args[-1])
        if live is None:
            return make(*args)
        self._live.add(live)
        return live

    def _fill(self, cls: type, state: Any) -> Any:
        return cls if cls in self._live else classes.fill_class(cls, state)


def load_result(parts: Sequence[Buffer]) -> Any:
    """Return the value whose pickle stream and out-of-band buffers are `parts`."""
    stream, *buffers = parts
    unpickler = ResultUnpickler(io.BytesIO(stream), buffers=buffers)
    try:
        return unpickler.load()
    finally:
        # The memo holds the unpickler's own methods: a cycle, and one that Python 3.10 cannot see.
        unpickler.memo = {}
