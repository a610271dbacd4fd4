"""Finds the loops of a cell that may become maps, in the form the analysis works on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, Comprehension, walk
from cloudbutton_magic.analysis.type_facts import words

Kind = Literal["for", "list", "set", "dict", "generator"]

CONSUMERS: Final = words(
    "list sum min max any all dict sorted tuple set frozenset Counter deque fsum prod mean fmean "
    "stdev variance median DataFrame Series concat fromiter vstack"
)
"""Functions that use a generator argument up before they return."""

CONSUMING_METHODS: Final = words(
    "join extend update writelines union intersection concat from_records"
)


@dataclass(frozen=True, eq=False)
class Loop:
    """A `for` statement or a comprehension, with the body of one iteration as statements.

    For a comprehension the body is made up: ``[f(x) for x in xs if c(x)]`` has the body
    ``if c(x): f(x)``, whose last statement is `result`.
    """

    kind: Kind
    node: ast.For | Comprehension
    target: ast.expr
    iter: ast.expr
    body: tuple[ast.stmt, ...]
    result: ast.Expr | None = None
    consumer: ast.Call | None = None
    """The call that a generator is the argument of."""
    in_with: bool = False
    """Whether a `with` around it closes what it walks over."""
    names: frozenset[str] | None = None
    """Variables of the function it stands in that it mentions, None at the cell's top level."""

    @property
    def line(self) -> int:
        return self.node.lineno


def loop_of(node: ast.For | Comprehension, *, in_with: bool = False) -> Loop:
    """Return the `Loop` of a statement or comprehension."""
    if isinstance(node, ast.For):
        return Loop("for", node, node.target, node.iter, tuple(node.body), in_with=in_with)
    element: ast.expr
    if isinstance(node, ast.DictComp):
        element = ast.copy_location(
            ast.Tuple(elts=[node.key, node.value], ctx=ast.Load()), node.key
        )
    else:
        element = node.elt
    result = ast.copy_location(ast.Expr(value=element), element)
    body: list[ast.stmt] = [result]
    first, *others = node.generators
    for generator in reversed(others):
        body = _filtered(body, generator.ifs)
        body = [
            ast.copy_location(
                ast.For(target=generator.target, iter=generator.iter, body=body, orelse=[]),
                generator.iter,
            )
        ]
    body = _filtered(body, first.ifs)
    kinds: dict[type, Kind] = {
        ast.ListComp: "list", ast.SetComp: "set", ast.DictComp: "dict", ast.GeneratorExp: "generator",
    }  # fmt: skip
    return Loop(
        kinds[type(node)], node, first.target, first.iter, tuple(body), result, in_with=in_with
    )


def _filtered(body: list[ast.stmt], tests: list[ast.expr]) -> list[ast.stmt]:
    for test in reversed(tests):
        body = [ast.copy_location(ast.If(test=test, body=body, orelse=[]), test)]
    return body


def find_loops(tree: ast.Module | ast.FunctionDef) -> list[Loop]:
    """Return the loops of a cell or function that run once with it, in order of the text.

    Loops inside another loop are not among them; `inner_loops` gives those.
    """
    found = list(_loops_in(tree.body, in_with=False))
    return sorted(found, key=lambda loop: (loop.node.lineno, loop.node.col_offset))


def inner_loops(loop: Loop) -> list[Loop]:
    """Return the loops directly inside a loop that itself must stay serial."""
    if isinstance(loop.node, ast.For):
        found = _loops_in(loop.node.body, in_with=loop.in_with)
        # What the loop around mentions is all that those inside can.
        return [replace(inner, names=loop.names) for inner in found]
    return []


def _loops_in(body: list[ast.stmt], *, in_with: bool) -> Iterator[Loop]:
    for statement in body:
        if isinstance(statement, ast.For):
            yield from _in_expression(statement.iter, in_with)
            yield loop_of(statement, in_with=in_with)
            yield from _loops_in(statement.orelse, in_with=in_with)
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        else:
            inside = in_with or isinstance(statement, ast.With)
            for child in ast.iter_child_nodes(statement):
                if isinstance(statement, ast.While) and child is statement.test:
                    continue  # run again and again
                if isinstance(child, ast.expr):
                    yield from _in_expression(child, in_with)
                elif isinstance(child, ast.withitem):
                    yield from _in_expression(child.context_expr, in_with)
                elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
                    yield from _loops_in(child.body, in_with=inside)
            for name in ("body", "orelse", "finalbody"):
                part = getattr(statement, name, None)
                if isinstance(part, list):
                    yield from _loops_in(part, in_with=inside)


def _in_expression(node: ast.AST, in_with: bool) -> Iterator[Loop]:
    if isinstance(node, (ast.Lambda, ast.NamedExpr)):
        return
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
        if not _is_async(node):
            yield loop_of(node, in_with=in_with)
        return
    if isinstance(node, ast.GeneratorExp):
        return  # only as the argument of a known consumer, below
    if isinstance(node, ast.Call):
        consumer = consumer_name(node)
        for argument in node.args:
            if consumer and isinstance(argument, ast.GeneratorExp) and not _is_async(argument):
                yield replace(loop_of(argument, in_with=in_with), consumer=node)
    for child in ast.iter_child_nodes(node):
        yield from _in_expression(child, in_with)


def consumer_name(call: ast.Call) -> str | None:
    """Return the name of a call that uses up its generator argument, None for others."""
    if isinstance(call.func, ast.Name):
        return call.func.id if call.func.id in CONSUMERS else None
    if isinstance(call.func, ast.Attribute):
        name = call.func.attr
        return name if name in CONSUMING_METHODS or name in CONSUMERS else None
    return None


def _is_async(node: Comprehension) -> bool:
    return any(g.is_async for g in node.generators) or any(
        isinstance(child, ast.Await) for child in walk(node)
    )


def first_await(tree: ast.AST) -> ast.AST | None:
    """Return the first top-level `await`, `async for` or `async with`, None without one."""
    for node in _same_scope(tree):
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            return node
        if isinstance(node, COMPREHENSIONS) and any(g.is_async for g in node.generators):
            return node
    return None


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _same_scope(child)
