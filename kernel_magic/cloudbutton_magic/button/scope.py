"""The variables of a running function of the cell, in the form a loop's code takes: globals."""

from __future__ import annotations

import types
from typing import Any

_MISSING = object()


class FunctionScope:
    """A namespace in which a function's variables hide the notebook's.

    The function hands over a closure that only names the variables; its cells are how they
    are looked at and set from here. Nothing of the function runs between `look` and
    `put_back`.

    Parameters
    ----------
    window
        The closure. It is never called.
    names
        The function's variables, bound yet or not.
    outside
        The notebook's globals.
    """

    def __init__(
        self, window: types.FunctionType, names: frozenset[str], outside: dict[str, Any]
    ) -> None:
        self._cells = dict(zip(window.__code__.co_freevars, window.__closure__ or ()))
        self._names, self._outside = names, outside
        self._before: dict[str, Any] = {}
        self.namespace: dict[str, Any] = {}

    def look(self) -> None:
        """Make the namespace what the function sees at this moment."""
        self._before = {}
        for name, cell in self._cells.items():
            try:
                self._before[name] = cell.cell_contents
            except ValueError:
                continue  # not bound yet
        self.namespace.clear()
        self.namespace.update(
            {name: value for name, value in self._outside.items() if name not in self._names}
        )
        self.namespace.update(self._before)

    def unbound(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of `names` that are variables of the function without a value."""
        return (names & self._names) - self._before.keys()

    def put_back(self) -> None:
        """Give the function's variables the values they have in the namespace."""
        for name, cell in self._cells.items():
            value = self.namespace.get(name, _MISSING)
            if value is self._before.get(name, _MISSING):
                continue
            if value is _MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = value
        # Whoever still has the loop's code must not keep the objects alive.
        self.namespace.clear()
        self._before = {}
