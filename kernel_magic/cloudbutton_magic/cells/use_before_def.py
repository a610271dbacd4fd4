"""Which names a stretch of code assigns, and which it may read before it has."""

from __future__ import annotations

import ast
from collections.abc import Iterable

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def read_before_assigned(statements: Iterable[ast.stmt]) -> set[str]:
    """Return names that the code assigns, and may read before it does.

    Follows evaluation order; of two branches only what both assign counts as assigned, and a
    loop's body may run zero times. Reads inside nested functions do not count: when they run
    is unknown, and a notebook's function normally runs after the assignments around it.
    """
    reader = _Reader()
    reader.block(list(statements))
    return reader.early & set(reader.stored)


def assigned_names(statements: Iterable[ast.stmt]) -> tuple[str, ...]:
    """Return the names that the code assigns in its own scope, in the order it does."""
    reader = _Reader()
    reader.block(list(statements))
    return tuple(reader.stored)


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.assigned: set[str] = set()
        self.stored: dict[str, None] = {}  # a set that keeps the order
        self.early: set[str] = set()

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def branches(self, *blocks: list[ast.stmt]) -> None:
        before = set(self.assigned)
        after: list[set[str]] = []
        for block in blocks:
            self.assigned = set(before)
            self.block(block)
            after.append(self.assigned)
        self.assigned = set.intersection(*after)

    def store(self, name: str) -> None:
        self.assigned.add(name)
        self.stored[name] = None

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.store(node.id)
        elif node.id not in self.assigned:
            self.early.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self.assigned:
            self.early.add(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.branches(node.body, node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        before = set(self.assigned)
        self.visit(node.target)
        self.block(node.body)
        self.assigned = before
        self.block(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        before = set(self.assigned)
        self.block(node.body)
        self.assigned = before
        self.block(node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        before = set(self.assigned)
        self.block(node.body + node.orelse)
        ended = self.assigned
        for handler in node.handlers:
            self.assigned = set(before)
            if handler.name:
                self.store(handler.name)
            self.block(handler.body)
            ended = ended & self.assigned
        self.assigned = ended
        self.block(node.finalbody)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        before = set(self.assigned)
        for case in node.cases:
            self.assigned = set(before)
            for part in ast.walk(case.pattern):
                name = getattr(part, "name", None) or getattr(part, "rest", None)
                if name:
                    self.store(name)
            if case.guard:
                self.visit(case.guard)
            self.block(case.body)
        self.assigned = before

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.store(alias.asname or alias.name.split(".")[0])

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for expression in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if expression is not None:
                self.visit(expression)
        self.store(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for expression in (*node.args.defaults, *node.args.kw_defaults):
            if expression is not None:
                self.visit(expression)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for expression in (*node.decorator_list, *node.bases):
            self.visit(expression)
        # A class body runs at once, but what it assigns are attributes.
        inner = _Reader()
        inner.assigned = set(self.assigned)
        inner.block(node.body)
        self.early |= inner.early
        self.store(node.name)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _COMPREHENSIONS):
            self._comprehension(node)
        else:
            super().generic_visit(node)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        inner = _Reader()
        inner.assigned = set(self.assigned)
        for clause in node.generators:
            inner.visit(clause.iter)
            inner.visit(clause.target)
            for test in clause.ifs:
                inner.visit(test)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        for part in parts:
            inner.visit(part)
        self.early |= inner.early
