"""The first line of a cloud cell: `%%cloud map …`, `%%cloud run …`, or the bare button.

The part of a `map` header up to `->` is what one writes after `for` in a comprehension, and
Python's own parser reads it, so whatever Python allows there is allowed here.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloudbutton_backend.errors import UnknownName, UsageError

CELL_COMMANDS: Final = ("map", "run")
"""What may follow `%%cloud`; anything else there is a mistake, or the button's options."""

_WORD: Final = re.compile(r"\s*([^\W\d]\w*)?")
_OPTION_START: Final = re.compile(r"--[A-Za-z]")
_QUOTES: Final = ("'''", '"""', "'", '"')
_OPENERS: Final = "([{"
_CLOSERS: Final = ")]}"
_MAP_HELP: Final = "`%%cloud map TARGET in ITERABLE [for … in …] [if …] [-> NAME] [--options]`"


class HeaderError(UsageError):
    """A header that cannot be parsed; shows the line, a caret under the place, and what was expected."""

    def __init__(self, line: str, column: int, expected: str) -> None:
        super().__init__(line, column, expected)
        self.line, self.column, self.expected = line, column, expected

    def __str__(self) -> str:
        return f"{self.expected}\n    {self.line}\n    {' ' * self.column}^"


@dataclass(frozen=True, kw_only=True)
class MapHeader:
    """`%%cloud map …`"""

    source: str
    """The comprehension part (`x in xs if x`), or the iterable alone."""
    targets: tuple[str, ...]
    """Names that the body receives; empty when the header names only an iterable."""
    results: tuple[str, ...]
    """Names after `->`."""
    options: str
    column: int
    """Where `source` begins on the cell's first line; tracebacks point there."""

    @property
    def maps_a_function(self) -> bool:
        """True for `map xs -> ys`, where the cell holds the function to map."""
        return not self.targets


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """`%%cloud run [-> a, b]`"""

    results: tuple[str, ...]
    """Names to bring back; empty means everything the cell assigns."""
    options: str


@dataclass(frozen=True, kw_only=True)
class ButtonHeader:
    """`%%cloud` alone or with options: the button."""

    options: str


Header = MapHeader | RunHeader | ButtonHeader


def parse_header(line: str) -> Header:
    """Read what follows `%%cloud` on the first line of a cell.

    Raises
    ------
    UsageError
        A command that does not exist, or (`HeaderError`) a line that does not parse.
    """
    text = line.rstrip()
    shown = f"%%cloud {text}"
    shift = len("%%cloud ")
    word = _WORD.match(text)
    command = word.group(1) if word else None
    if command is None:
        if text.strip() and not text.lstrip().startswith("--"):
            raise HeaderError(shown, shift, f"Expected `map`, `run` or an option: {_MAP_HELP}.")
        return ButtonHeader(options=text.strip())
    if command not in CELL_COMMANDS:
        raise UnknownName("cell command", command, CELL_COMMANDS)
    assert word is not None
    start = word.end()
    parts = _split(text, start, shown, shift)
    if command == "run":
        if parts.body.strip():
            column = shift + start + _indent(parts.body)
            raise HeaderError(
                shown, column, "Expected `-> NAME, …` or options after `run`, or nothing."
            )
        return RunHeader(results=parts.results, options=parts.options)
    return _map_header(parts, shown, shift + start)


@dataclass(frozen=True)
class _Parts:
    body: str
    results: tuple[str, ...]
    options: str


def _split(text: str, start: int, shown: str, shift: int) -> _Parts:
    """Cut the line at the `->` and the `--options` that stand outside brackets and strings."""
    cuts = list(_cuts(text, start))
    edges = [position for position, _ in cuts] + [len(text)]
    results: tuple[str, ...] = ()
    options: list[str] = []
    seen_arrow = False
    for (position, mark), end in zip(cuts, edges[1:], strict=True):
        piece = text[position:end]
        if mark == "->":
            if seen_arrow:
                raise HeaderError(shown, shift + position, "Expected a single `->`.")
            seen_arrow = True
            results = _result_names(piece, position, shown, shift)
        elif mark == "--":
            options.append(piece.strip())
    return _Parts(text[start : edges[0]], results, " ".join(options))


def _cuts(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Yield the places of `->`, of the options after each stretch of header, and of a comment."""
    depth = 0
    in_options = False
    position = start
    while position < len(text):
        character = text[position]
        quote = next((q for q in _QUOTES if text.startswith(q, position)), None)
        if quote is not None:
            position = _end_of_string(text, position, quote)
            continue
        if character in _OPENERS:
            depth += 1
        elif character in _CLOSERS:
            depth -= 1
        elif depth == 0 and text.startswith("->", position):
            yield position, "->"
            in_options = False
            position += 2
            continue
        elif depth == 0 and character == "#" and not in_options:
            yield position, "#"
            return
        elif (
            depth == 0
            and not in_options
            and _OPTION_START.match(text, position)
            and text[position - 1].isspace()
        ):
            yield position, "--"
            in_options = True
        position += 1


def _end_of_string(text: str, position: int, quote: str) -> int:
    position += len(quote)
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text.startswith(quote, position):
            return position + len(quote)
        else:
            position += 1
    return len(text)


def _result_names(piece: str, position: int, shown: str, shift: int) -> tuple[str, ...]:
    inside = piece[2:]
    names = []
    column = position + 2
    for part in inside.split(","):
        name = part.strip()
        at = shift + column + _indent(part)
        if not name:
            raise HeaderError(shown, at, "Expected a variable name after `->`.")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise HeaderError(
                shown,
                at,
                f"Expected a variable name after `->`, not `{name}`"
                + (" (separate several by commas)." if " " in name else "."),
            )
        if name in names:
            raise HeaderError(shown, at, f"`{name}` is named twice after `->`.")
        names.append(name)
        column += len(part) + 1
    return tuple(names)


def result_names(text: str, line: str) -> tuple[str, ...]:
    """Read the names after the `->` that ends `line`.

    Raises
    ------
    HeaderError
        Something that is no variable name.
    """
    return _result_names(f"->{text}", len(line) - len(text) - 2, line, 0)


def _map_header(parts: _Parts, shown: str, column: int) -> MapHeader:
    body = parts.body.strip()
    column += _indent(parts.body)
    if not body:
        raise HeaderError(shown, column, f"Expected what to map over: {_MAP_HELP}.")
    try:
        clauses = _clauses(body)
    except SyntaxError as error:
        if _is_expression(body):
            return MapHeader(
                source=body,
                targets=(),
                results=parts.results,
                options=parts.options,
                column=column,
            )
        at, expected = _diagnose(body, error)
        raise HeaderError(shown, column + at, expected) from None
    targets: list[str] = []
    for clause in clauses:
        if clause.is_async:
            raise HeaderError(
                shown, column, "`async for` cannot be mapped; collect its items into a list first."
            )
        for node in _target_leaves(clause.target):
            if not isinstance(node, ast.Name):
                at = column + node.col_offset - len(_PREFIX)
                raise HeaderError(
                    shown, at, "Expected a plain variable before `in`; each task has its own."
                )
            if node.id not in targets:
                targets.append(node.id)
        for part in (part for test in clause.ifs for part in ast.walk(test)):
            if isinstance(part, ast.NamedExpr):
                at = column + part.col_offset - len(_PREFIX)
                raise HeaderError(
                    shown, at, "`:=` sets a variable here, which the tasks would not see."
                )
    return MapHeader(
        source=body,
        targets=tuple(targets),
        results=parts.results,
        options=parts.options,
        column=column,
    )


_PREFIX: Final = "[None for "


def _clauses(body: str) -> list[ast.comprehension]:
    source = f"{_PREFIX}{body}\n]"
    try:
        tree = ast.parse(source, mode="eval").body
    except ValueError as error:  # a null byte, before Python 3.12
        raise SyntaxError(str(error)) from None
    # `x in xs] + [y for y in ys` parses too, but is no comprehension.
    if not isinstance(tree, ast.ListComp) or not isinstance(tree.elt, ast.Constant):
        raise SyntaxError("invalid syntax", (None, 1, len(source), source))
    compile(source, "<header>", "eval")  # finds what only the symbol table knows
    return tree.generators


def _is_expression(body: str) -> bool:
    try:
        tree = ast.parse(body, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    # `x in (y := xs)` is a comparison as well, but was meant as a comprehension.
    is_membership = isinstance(tree, ast.Compare) and isinstance(tree.ops[0], ast.In)
    return not is_membership


def _diagnose(body: str, error: SyntaxError) -> tuple[int, str]:
    """Return where the comprehension goes wrong, and what was expected there."""
    at = (error.offset or 1) - 1 - len(_PREFIX) if error.lineno in (1, None) else len(body)
    at = min(max(at, 0), len(body))
    words = list(re.finditer(r"\w+|\S", body))
    if "in" not in [word.group() for word in words]:
        second = next((word for word in words[1:] if word.group().isidentifier()), None)
        where = second.start() if second else at
        return where, f"Expected `in` after the targets: {_MAP_HELP}."
    if words[-1].group() == "in":
        return len(body), "Expected an iterable after `in`."
    if words[0].group() == "for":
        return 0, "Expected the targets: leave out the first `for`."
    message = error.msg or "invalid syntax"
    if "does not match opening" in message or "was never closed" in message:
        return len(body), "Expected a closing bracket before the end."
    if message == "invalid syntax":
        message = f"this is not Python after `for`; expected {_MAP_HELP}"
    return at, f"{message[0].upper()}{message[1:]}."


def _target_leaves(target: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _target_leaves(element)
    elif isinstance(target, ast.Starred):
        yield from _target_leaves(target.value)
    else:
        yield target


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
