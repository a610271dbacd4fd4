"""The body of a `map` cell, made into the function that the workers call."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cloudbutton_backend.errors import UsageError
from cloudbutton_magic.analysis.data_flow import read_before_bound
from cloudbutton_magic.analysis.syntax import uses

FUNCTION_NAME: Final = "cell"
"""What tracebacks call a cell's function."""

_ITEM: Final = "__item__"
_VALUE: Final = "__value__"
_MAGIC: Final = re.compile(r"^\s*[%!?]|=\s*[%!]\s*\S|\?\s*$")
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(frozen=True, kw_only=True)
class CellFunction:
    """A function of one item, with its properties."""

    call: Callable[[Any], Any]
    has_value: bool
    """False when the last line is no expression: every result is None."""


def parse_body(cell: str, filename: str = "<cell>") -> ast.Module:
    """Parse a cell's body with the line numbers of the whole cell (the header is line 1).

    Raises
    ------
    UsageError
        It holds a magic, a shell command or a top-level `await`.
    SyntaxError
        Python's own, on the user's line.
    """
    try:
        tree = ast.parse("\n" + cell, filename)
    except SyntaxError as error:
        text = _line(cell, error.lineno or 0)
        if _MAGIC.search(text):
            _refuse(
                cell,
                error.lineno or 0,
                "Magics and shell commands cannot run in a task; "
                "move this to a cell of its own, or use Python (`subprocess.run`).",
            )
        # Without the parser's own frames: where it was called is of no interest to the user.
        raise error.with_traceback(None) from None
    for node in _own_nodes(tree):
        if (isinstance(node, ast.comprehension) and node.is_async) or isinstance(
            node, (ast.Await, ast.AsyncFor, ast.AsyncWith)
        ):
            placed = node.target if isinstance(node, ast.comprehension) else node
            _refuse(
                cell,
                placed.lineno,
                "A task is an ordinary function, without `await`; use `asyncio.run(…)` in it.",
            )
    return tree


def function_of_body(
    cell: str,
    targets: tuple[str, ...],
    namespace: Mapping[str, Any],
    *,
    filename: str = "<cell>",
    flags: int = 0,
) -> CellFunction:
    """Make a function of `targets` from a cell's body; its last expression is the value.

    Names that the body only reads stay globals of the notebook, captured when the job starts.
    A name that it reads and later assigns (`data = data[data.year == year]`) starts, for every
    item, with the notebook's value: a Python function would raise UnboundLocalError there.
    """
    tree = _checked_tree(cell, filename)
    _refuse_shared_totals(tree, cell, namespace)
    has_value = isinstance(tree.body[-1], ast.Expr) or any(
        isinstance(node, ast.Return) for node in _own_nodes(tree)
    )
    call = _compiled(tree.body, _with_return(tree.body), targets, namespace, filename, flags)
    return CellFunction(call=call, has_value=has_value)


def function_of_cell(
    cell: str,
    results: tuple[str, ...],
    namespace: Mapping[str, Any],
    *,
    filename: str = "<cell>",
    flags: int = 0,
) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """Make a function that runs a whole cell; it returns its last value and its variables.

    Returns
    -------
    function, names
        The function ignores its argument and returns ``(value, {name: value})``, for the names
        in `results`, or for all that the cell assigns if there are none.
    """
    tree = _checked_tree(cell, filename)
    assigned = tuple(uses(tree.body).binds)
    for name in results:
        if name not in assigned:
            raise UsageError(
                f"`-> {name}`: the cell does not assign `{name}`. "
                f"It assigns {', '.join(f'`{known}`' for known in assigned) or 'nothing'}."
            )
    for node in _own_nodes(tree):
        if isinstance(node, ast.Return):
            _refuse(cell, node.lineno, "`return` has no place in a cell; end it with the value.")
    wanted = results or assigned
    last = tree.body[-1]
    statements = list(tree.body)
    value: ast.expr = ast.Constant(None)
    if isinstance(last, ast.Expr):
        statements[-1] = ast.copy_location(
            ast.Assign([ast.Name(_VALUE, ast.Store())], last.value), last
        )
        value = ast.Name(_VALUE, ast.Load())
    # A name may be unassigned in the end, as when it is set under an `if`.
    names = ast.parse(
        f"{{k: v for k, v in dict(locals()).items() if k in {wanted!r}}}", mode="eval"
    ).body
    end = ast.Return(ast.Tuple([value, names], ast.Load()))
    for node in ast.walk(end):
        ast.copy_location(node, last)
    statements.append(end)
    ast.fix_missing_locations(ast.Module(statements, []))
    call = _compiled(tree.body, statements, (_ITEM,), namespace, filename, flags)
    return call, wanted


def _checked_tree(cell: str, filename: str) -> ast.Module:
    tree = parse_body(cell, filename)
    if not tree.body:
        raise UsageError("The cell is empty; its body is what runs.")
    _check(tree, cell)
    return tree


def _with_return(body: list[ast.stmt]) -> list[ast.stmt]:
    last = body[-1]
    if not isinstance(last, ast.Expr):
        return body
    return [*body[:-1], ast.copy_location(ast.Return(last.value), last)]


def _compiled(
    body: list[ast.stmt],
    statements: list[ast.stmt],
    targets: tuple[str, ...],
    namespace: Mapping[str, Any],
    filename: str,
    flags: int,
) -> Callable[[Any], Any]:
    carried = [
        name
        for name in sorted(read_before_bound(body))
        if name in namespace and name not in targets
    ]
    template = ast.parse(f"def {FUNCTION_NAME}({_signature(targets, carried)}): pass")
    definition = template.body[0]
    assert isinstance(definition, ast.FunctionDef)
    unpack = ast.parse(f"{', '.join(targets)} = {_ITEM}").body if len(targets) > 1 else []
    definition.body = unpack + statements
    made: dict[str, Any] = {}
    exec(compile(template, filename, "exec", flags, True), as_dict(namespace), made)
    call: Callable[[Any], Any] = made[FUNCTION_NAME]
    return call


def as_dict(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The namespace itself where it is a dict: functions must see the notebook's globals."""
    return namespace if isinstance(namespace, dict) else dict(namespace)


def only_function_name(tree: ast.Module) -> str:
    """Return the name of the one function that the cell defines.

    Raises
    ------
    UsageError
        The cell defines none, or several.
    """
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if len(names) == 1:
        return names[0]
    found = (
        f"This one defines {', '.join(f'`{name}`' for name in names)}" if names else "It has none"
    )
    raise UsageError(
        "Without targets, `%%cloud map ITERABLE` maps the one function that the cell defines. "
        f"{found}. Name the targets instead, `%%cloud map x in ITERABLE -> results`, and call the "
        "function in the cell's last line."
    )


def _signature(targets: tuple[str, ...], carried: list[str]) -> str:
    item = targets[0] if len(targets) == 1 else _ITEM
    return ", ".join([item, *(["*"] if carried else []), *(f"{name}={name}" for name in carried)])


def _check(tree: ast.Module, cell: str) -> None:
    for node in _own_nodes(tree):
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            _refuse(
                cell,
                node.lineno,
                f"`{node.names[0]}` would be set in the worker only. Make it (part of) the cell's "
                "last line, and take it from the results.",
            )
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            _refuse(cell, node.lineno, "A task cannot `yield`; collect the values in a list.")
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            _refuse(
                cell, node.lineno, f"Import what you use from `{node.module}` by name in a task."
            )


def _refuse_shared_totals(tree: ast.Module, cell: str, namespace: Mapping[str, Any]) -> None:
    early = read_before_bound(tree.body)
    for node in _own_nodes(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if name in early and name in namespace:
                _refuse(
                    cell,
                    node.lineno,
                    f"`{name}` is the notebook's variable, and every task has its own copy of it. "
                    "Make the amount the cell's last line, and add up the results afterwards.",
                )


def _own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk the cell's own scope, without the functions and classes defined in it."""
    for child in ast.iter_child_nodes(tree):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _own_nodes(child)


def _line(cell: str, number: int) -> str:
    lines = ["", *cell.splitlines()]
    return lines[number - 1] if 1 <= number <= len(lines) else ""


def _refuse(cell: str, number: int, why: str) -> NoReturn:
    raise UsageError(f"{why}\n    line {number}: {_line(cell, number).strip()}")
