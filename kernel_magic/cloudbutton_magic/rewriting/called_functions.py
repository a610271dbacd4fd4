"""Recompile a function that a cell calls once, with the hook in its loops; read and set its variables.

The function that the cell defines stays the user's own.
Only its one call goes to the recompiled function, which takes everything but the code from the live one:
globals, defaults, name.
"""

from __future__ import annotations

import ast
import types
from typing import Any, Final

from cloudbutton_magic.rewriting.loop_functions import compile_function


def recompiled_tree(function: ast.FunctionDef, body: list[ast.stmt]) -> ast.FunctionDef:
    """Return a definition with `body` in which nothing is evaluated when it is executed."""
    # Through the parser, because FunctionDef has more fields with each Python version.
    tree = ast.parse(f"def {function.name}(): pass").body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = function.args

    def bare(argument: ast.arg) -> ast.arg:
        return ast.copy_location(ast.arg(arg=argument.arg, annotation=None), argument)

    tree.args = ast.arguments(
        posonlyargs=[bare(a) for a in arguments.posonlyargs],
        args=[bare(a) for a in arguments.args],
        vararg=bare(arguments.vararg) if arguments.vararg else None,
        kwonlyargs=[bare(a) for a in arguments.kwonlyargs],
        kw_defaults=[None for _ in arguments.kwonlyargs],
        kwarg=bare(arguments.kwarg) if arguments.kwarg else None,
        defaults=[],
    )
    tree.body = body
    return ast.copy_location(tree, function)


def recompile(
    function: Any, tree: ast.FunctionDef, filename: str, flags: int, namespace: dict[str, Any]
) -> Any:
    """Return the twin of `function`, or `function` itself if it is not the one in the cell."""
    if (
        type(function) is not types.FunctionType
        or function.__closure__
        or function.__globals__ is not namespace
        or function.__name__ != tree.name
        or function.__code__.co_filename != filename
        or function.__code__.co_firstlineno != tree.lineno
    ):
        return function
    code = compile_function(tree, filename, flags, namespace).__code__
    made = types.FunctionType(code, namespace, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


_MISSING: Final = object()


class FunctionScope:
    """A namespace in which a function's variables hide the notebook's.

    The function hands over a closure that only names the variables; its cells are how they
    are looked at and set from here. Nothing of the function runs between `read_variables` and
    `write_back`.

    Parameters
    ----------
    closure
        The closure. It is never called.
    names
        The function's variables, bound yet or not.
    notebook_globals
        The notebook's globals.
    """

    def __init__(
        self, closure: types.FunctionType, names: frozenset[str], notebook_globals: dict[str, Any]
    ) -> None:
        self._cells = dict(zip(closure.__code__.co_freevars, closure.__closure__ or ()))
        self._names, self._notebook_globals = names, notebook_globals
        self._before: dict[str, Any] = {}
        self.namespace: dict[str, Any] = {}

    def read_variables(self) -> None:
        """Make the namespace what the function sees at this moment."""
        self._before = {}
        for name, cell in self._cells.items():
            try:
                self._before[name] = cell.cell_contents
            except ValueError:
                continue  # not bound yet
        self.namespace.clear()
        self.namespace.update(
            {
                name: value
                for name, value in self._notebook_globals.items()
                if name not in self._names
            }
        )
        self.namespace.update(self._before)

    def unbound(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of `names` that are variables of the function without a value."""
        return (names & self._names) - self._before.keys()

    def write_back(self) -> None:
        """Give the function's variables the values they have in the namespace."""
        for name, cell in self._cells.items():
            value = self.namespace.get(name, _MISSING)
            if value is self._before.get(name, _MISSING):
                continue
            if value is _MISSING:
                del cell.cell_contents
            else:
                cell.cell_contents = value
        # References to the loop's code must not keep the objects alive.
        self.namespace.clear()
        self._before = {}
