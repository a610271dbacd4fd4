"""A view of the live namespace: what a name in the cell stands for right now."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Mapping
from typing import Final, Protocol


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        return False


UNKNOWN: Final = _Unknown()
"""The answer where nothing is known: a name not bound yet, a value made in the loop."""


class Live(Protocol):
    """Answers for names. The analysis only looks; it never calls user code."""

    def get(self, name: str) -> object:
        """Return the value of `name`, or `UNKNOWN`."""
        ...


class Namespace:
    """A mapping (the notebook's globals) with the builtins behind it."""

    def __init__(self, names: Mapping[str, object], *enclosing: Mapping[str, object]) -> None:
        self._layers = (names, *enclosing, vars(builtins))

    def get(self, name: str) -> object:
        for layer in self._layers:
            if name in layer:
                return layer[name]
        return UNKNOWN


def lookup(node: ast.expr, live: Live, local: frozenset[str]) -> object:
    """Return what a dotted expression stands for, `UNKNOWN` unless it is certain.

    Attributes are followed through modules and classes only: on other objects they may
    run code.
    """
    if isinstance(node, ast.Name):
        return UNKNOWN if node.id in local else live.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = lookup(node.value, live, local)
        if isinstance(owner, (types.ModuleType, type)):
            try:
                return getattr(owner, node.attr)
            except Exception:
                return UNKNOWN
    return UNKNOWN


def root(node: ast.AST) -> str | None:
    """Return the name an expression reaches into: `d[k].x.setdefault(i, [])` gives d."""
    while True:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr not in ("setdefault", "get"):
                return None
            node = node.func.value
        else:
            return None
