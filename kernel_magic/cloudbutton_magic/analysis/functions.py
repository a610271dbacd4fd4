"""Finds the source of the user's own functions and classes, to look inside them."""

from __future__ import annotations

import ast
import functools
import linecache
import site
import sys
import sysconfig
import types

_FOREIGN = tuple(
    {
        path
        for path in (
            *sysconfig.get_paths().values(),
            *site.getsitepackages(),
            site.getusersitepackages(),
            sys.base_prefix,
        )
        if path
    }
)


def is_own(function: types.FunctionType | type) -> bool:
    """Tell whether the code belongs to the user: the notebook, or a module not installed."""
    if isinstance(function, type):
        module = sys.modules.get(function.__module__)
        if module is None or function.__module__ == "__main__":
            return function.__module__ != "builtins"
        filename = getattr(module, "__file__", None)
        if filename is None:
            return function.__module__ not in sys.builtin_module_names and not hasattr(
                module, "__spec__"
            )
    else:
        filename = function.__code__.co_filename
    if "site-packages" in filename or "dist-packages" in filename or filename.startswith("<frozen"):
        return False
    if "/lib/python3" in filename.replace("\\", "/"):
        return False
    return not filename.startswith(_FOREIGN) or "/ipykernel_" in filename


def source_tree(function: types.FunctionType) -> ast.FunctionDef | ast.Lambda | None:
    """Return the definition of `function` as a tree with its own line numbers."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename))
    tree = _parsed(text) if text else None
    if tree is None:
        return None
    matches = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        and _first_line(node) == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
    ]
    # Two lambdas on one line cannot be told apart by their line.
    return matches[0] if len(matches) == 1 else None  # type: ignore[return-value]


def methods(kind: type) -> dict[str, types.FunctionType]:
    """Return the functions defined in a class of the user's and its bases."""
    found: dict[str, types.FunctionType] = {}
    for base in kind.__mro__:
        if base is object or not is_own(base):
            continue
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            function = getattr(function, "fget", function)
            function = getattr(function, "func", function)
            if isinstance(function, types.FunctionType) and is_own(function):
                found.setdefault(name, function)
    return found


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None
