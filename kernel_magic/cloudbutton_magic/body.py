"""The body of a `map` cell, made into the function that the workers call."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cloudbutton_backend.errors import UsageError

from cloudbutton_magic.early_reads import read_before_assigned

#: What tracebacks call the function made of a cell.
FUNCTION_NAME: Final = "cell"

_ITEM: Final = "__item__"
_MAGIC = re.compile(r"^\s*[%!?]|=\s*[%!]\s*\S|\?\s*$")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(frozen=True, kw_only=True)
class CellFunction:
    """A function of one item, and what there is to say about it."""

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
        raise
    for node in _own_nodes(tree):
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)) or (
            isinstance(node, ast.comprehension) and node.is_async
        ):
            line = getattr(node, "lineno", None) or getattr(node.target, "lineno", 0)  # type: ignore[attr-defined]
            _refuse(
                cell,
                line,
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
    tree = parse_body(cell, filename)
    if not tree.body:
        raise UsageError("The cell is empty; its body is what runs for each item.")
    _check(tree, cell, namespace)
    statements = list(tree.body)
    last = statements[-1]
    has_value = isinstance(last, ast.Expr) or any(
        isinstance(node, ast.Return) for node in _own_nodes(tree)
    )
    if isinstance(last, ast.Expr):
        statements[-1] = ast.copy_location(ast.Return(last.value), last)
    carried = [
        name
        for name in sorted(read_before_assigned(tree.body))
        if name in namespace and name not in targets
    ]
    template = ast.parse(f"def {FUNCTION_NAME}({_signature(targets, carried)}): pass")
    definition = template.body[0]
    assert isinstance(definition, ast.FunctionDef)
    unpack: list[ast.stmt] = []
    if len(targets) > 1:
        unpack = [*ast.parse(f"{', '.join(targets)} = {_ITEM}").body]
    definition.body = unpack + statements
    code = compile(template, filename, "exec", flags, True)
    made: dict[str, Any] = {}
    exec(code, dict_of(namespace), made)
    return CellFunction(call=made[FUNCTION_NAME], has_value=has_value)


def dict_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The namespace itself where it is a dict: functions must see the notebook's globals."""
    return namespace if isinstance(namespace, dict) else dict(namespace)


def the_function_of(tree: ast.Module) -> str:
    """Return the name of the one function that the cell defines.

    Raises
    ------
    UsageError
        The cell defines none, or several.
    """
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if len(names) == 1:
        return names[0]
    found = f"This one defines {', '.join(f'`{name}`' for name in names)}" if names else "It has none"
    raise UsageError(
        "Without targets, `%%cloud map ITERABLE` maps the one function that the cell defines. "
        f"{found}. Name the targets instead, `%%cloud map x in ITERABLE -> results`, and call the "
        "function in the cell's last line."
    )


def _signature(targets: tuple[str, ...], carried: list[str]) -> str:
    item = targets[0] if len(targets) == 1 else _ITEM
    return ", ".join([item, *(["*"] if carried else []), *(f"{name}={name}" for name in carried)])


def _check(tree: ast.Module, cell: str, namespace: Mapping[str, Any]) -> None:
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
    early = read_before_assigned(tree.body)
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
