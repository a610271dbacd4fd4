"""Loads what workers send back, without letting it redefine the notebook's classes.

An instance of a notebook class returns with the class by value, under the same tracker id, and
cloudpickle finds the live class by that id; but then it sets every attribute of the class to what
the worker sent: the methods would become copies whose globals are those of the time of capture.
Here a class that is already known is left as it is.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

from cloudpickle import cloudpickle as _cloudpickle

from cloudbutton_backend.worker.wire import Buffer


class ResultUnpickler(pickle.Unpickler):
    """Unpickles results; classes that live here keep their definition."""

    def __init__(self, stream: Any, *, buffers: Iterable[Any] | None = None) -> None:
        super().__init__(stream, buffers=buffers)
        self._live: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module == "cloudpickle.cloudpickle":
            if name == "_make_skeleton_class":
                return self._skeleton_class
            if name == "_make_skeleton_enum":
                return self._skeleton_enum
            if name == "_class_setstate":
                return self._class_setstate
        return super().find_class(module, name)

    def _skeleton_class(self, *args: Any) -> Any:
        return self._known(args[4]) or _cloudpickle._make_skeleton_class(*args)

    def _skeleton_enum(self, *args: Any) -> Any:
        return self._known(args[5]) or _cloudpickle._make_skeleton_enum(*args)

    def _known(self, tracker_id: str) -> Any:
        with _cloudpickle._DYNAMIC_CLASS_TRACKER_LOCK:
            live = _cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
        if live is not None:
            self._live.add(live)
        return live

    def _class_setstate(self, cls: type, state: Any) -> Any:
        return cls if cls in self._live else _cloudpickle._class_setstate(cls, state)


def load_result(parts: Sequence[Buffer]) -> Any:
    """Return the value whose pickle stream and out-of-band buffers are `parts`."""
    stream, *buffers = parts
    unpickler = ResultUnpickler(io.BytesIO(stream), buffers=buffers)
    try:
        return unpickler.load()
    finally:
        # The memo holds the unpickler's own methods: a cycle, and one that Python 3.10 cannot see.
        unpickler.memo = {}
