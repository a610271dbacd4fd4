"""Makes the twin of a function that a cell calls once: the same code, its loops handed over.

The function that the cell defines stays the user's own. Only its one call goes to the twin,
which takes everything but the code from the live function: globals, defaults, name.
"""

from __future__ import annotations

import ast
import types
from typing import Any

from cloudbutton_magic.rewriting.loop_functions import load


def twin_tree(function: ast.FunctionDef, body: list[ast.stmt]) -> ast.FunctionDef:
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


def twin(
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
    code = load(tree, filename, flags, namespace).__code__
    made = types.FunctionType(code, namespace, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
