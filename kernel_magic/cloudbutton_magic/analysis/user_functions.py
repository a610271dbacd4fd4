"""The user's own functions and classes: their source, their names, what they keep."""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import linecache
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Final

from cloudbutton_magic.analysis.syntax import uses, walk

_INSTALLED: Final = tuple(
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

_OURS: Final = frozenset({"cloudbutton_ext", "cloudbutton_magic", "cloudbutton_backend"})


def is_user_code(function: types.FunctionType | type) -> bool:
    """Tell whether the code belongs to the user: the notebook, or a module not installed."""
    if (function.__module__ or "").partition(".")[0] in _OURS:
        return False  # `cloud.rng()`, also where this package is installed for editing
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
        if filename.startswith("<") and function.__module__ != "__main__":  # made by other code
            module = sys.modules.get(function.__module__ or "")
            filename = getattr(module, "__file__", None) or filename
    return is_user_file(filename)


def is_user_file(filename: str) -> bool:
    """Tell whether the code in a file is the user's: a cell's, or a module's that was not installed."""
    if "site-packages" in filename or "dist-packages" in filename or filename.startswith("<frozen"):
        return False
    if "/lib/python3" in filename.replace("\\", "/"):
        return False
    return not filename.startswith(_INSTALLED) or "/ipykernel_" in filename


def source_tree(function: types.FunctionType) -> ast.FunctionDef | ast.Lambda | None:
    """Return the definition of `function` as a tree with its own line numbers."""
    code = function.__code__
    text = "".join(linecache.getlines(code.co_filename))
    tree = _parsed(text) if text else None
    if tree is None:
        return None
    matches = [
        node
        for node in walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        and _first_line(node) == code.co_firstlineno
        and getattr(node, "name", "<lambda>") == code.co_name
    ]
    # Two lambdas on one line cannot be told apart by their line.
    return matches[0] if len(matches) == 1 else None  # type: ignore[return-value]


def user_methods(kind: type) -> dict[str, types.FunctionType]:
    """Return the functions defined in a class of the user's and its bases."""
    found: dict[str, types.FunctionType] = {}
    for base in kind.__mro__:
        if base is object or not is_user_code(base):
            continue
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            function = getattr(function, "fget", function)
            function = getattr(function, "func", function)
            if isinstance(function, types.FunctionType) and is_user_code(function):
                found.setdefault(name, function)
    return found


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min(int(line.lineno) for line in (node, *decorators))


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module | None:
    """Parse what `linecache` has of a file or cell; a cell may be as it was typed, `%%cloud` and all."""
    with contextlib.suppress(SyntaxError, ValueError):
        return ast.parse(text)
    magic = text.startswith("%%")
    body = text.partition("\n")[2] if magic else text
    with contextlib.suppress(ImportError, SyntaxError, ValueError):
        from IPython.core.inputtransformer2 import TransformerManager

        return ast.parse("\n" * magic + TransformerManager().transform_cell(body))
    return None


def local_names(tree: ast.FunctionDef | ast.Lambda) -> frozenset[str]:
    """Return the names that are a function's own, those of its nested functions included."""
    body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
    found = uses(body)
    arguments = tree.args
    names = {
        a.arg
        for a in (
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            *(x for x in (arguments.vararg, arguments.kwarg) if x),
        )
    }
    names |= {n for n in found.binds if n not in found.declared}
    # Names of nested functions and comprehensions hide outer ones well enough for lookups.
    for top in body:
        for node in walk(top):
            if isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.comprehension):
                names |= {n.id for n in walk(node.target) if isinstance(n, ast.Name)}
            elif isinstance(node, (ast.FunctionDef, ast.Lambda)) and node is not tree:
                names |= set(
                    uses(node.body if isinstance(node, ast.FunctionDef) else [node.body]).binds
                )
    return frozenset(names)


def outer_declared(tree: ast.FunctionDef | ast.Lambda) -> frozenset[str]:
    """Return names declared `global` in the function, or `nonlocal` to a scope around it."""
    names: set[str] = set()
    own = _bound_here(tree)
    for node in walk(tree):
        if isinstance(node, ast.Global):
            names |= set(node.names)
        elif isinstance(node, ast.Nonlocal):
            names |= {n for n in node.names if n not in own}
    return frozenset(names)


def _bound_here(tree: ast.FunctionDef | ast.Lambda) -> set[str]:
    if isinstance(tree, ast.Lambda):
        return set()
    found = uses(tree.body)
    own_declared = {
        name
        for node in tree.body
        if isinstance(node, (ast.Global, ast.Nonlocal))
        for name in node.names
    }
    return (set(found.binds) | {a.arg for a in tree.args.args}) - own_declared


def kept_defaults(tree: ast.FunctionDef | ast.Lambda) -> frozenset[str]:
    """Return parameters whose default is an object that calls share: `def f(x, memo={})`."""
    arguments = tree.args
    named = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(named[len(named) - len(arguments.defaults) :], arguments.defaults),
        *zip(arguments.kwonlyargs, arguments.kw_defaults),
    ]
    return frozenset(
        argument.arg
        for argument, default in pairs
        if isinstance(default, (ast.List, ast.Dict, ast.Set, ast.Call, ast.ListComp, ast.DictComp))
    )


def global_reads(code: types.CodeType) -> Iterator[str]:
    """Yield the globals that a code object reads, for functions without source."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from global_reads(constant)


def stores_global(code: types.CodeType) -> bool:
    """Tell whether a code object binds or deletes a global."""
    return any(i.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for i in dis.get_instructions(code))


def is_unbound(cell: types.CellType) -> bool:
    """Tell whether a closure's variable is not bound yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False
