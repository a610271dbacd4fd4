"""Walk syntax trees; find the names that code reads and binds, resolved as Python resolves them.

Each tree is walked only once: the same few subtrees are asked about again and again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_walked: Final[dict[int, tuple[ast.AST, tuple[ast.AST, ...]]]] = {}
"""For a node's id, the node itself (so that the id stays its own) and all below it."""
_MAX_CACHED: Final = 100_000


def walk(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return `node` and all nodes below it, in the order of the text.

    For trees that are not changed: the answer is cached.
    """
    known = _walked.get(id(node))
    if known is not None:
        return known[1]
    found = [node]
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found += walk(value)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, ast.AST):
                    found += walk(part)
    if len(_walked) > _MAX_CACHED:
        _walked.clear()
    answer = tuple(found)
    # Names and constants are walked as quickly as they are looked up.
    if len(answer) > 2:
        _walked[id(node)] = node, answer
    return answer


Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class NameUses:
    """Names used by a piece of code in its own scope, each with the first line.

    ``reads`` holds what is looked up in or outside the scope, nested scopes included;
    ``deferred`` those of them that sit in a function or lambda and run later.
    """

    reads: dict[str, int] = field(default_factory=dict)
    binds: dict[str, int] = field(default_factory=dict)
    deletes: dict[str, int] = field(default_factory=dict)
    deferred: dict[str, int] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    """Names in `global` and `nonlocal` statements, nested functions included."""


def uses(nodes: ast.AST | Iterable[ast.AST]) -> NameUses:
    """Return the names that `nodes`, taken as code of one scope, read and bind."""
    if isinstance(nodes, ast.AST):
        known = _known.get(id(nodes))
        if known is not None:
            return known[1]
    found = _NameCollector()
    for node in [nodes] if isinstance(nodes, ast.AST) else nodes:
        found.visit(node)
    if isinstance(nodes, ast.AST):
        if len(_known) > 20_000:
            _known.clear()
        _known[id(nodes)] = nodes, found.uses
    return found.uses


_known: Final[dict[int, tuple[ast.AST, NameUses]]] = {}
"""Answers for single nodes, which are asked for again and again, by id (see `walk`)."""


def target_names(target: ast.AST) -> tuple[str, ...]:
    """Return the names a target binds, in order: ``(a, *b), c[0]`` gives a, b."""
    return tuple(
        node.id
        for node in walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )


class _NameCollector(ast.NodeVisitor):
    def __init__(self) -> None:
        self.uses = NameUses()

    def read(self, name: str, line: int) -> None:
        self.uses.reads.setdefault(name, line)

    def bind(self, name: str, line: int) -> None:
        self.uses.binds.setdefault(name, line)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self.bind(node.id, node.lineno)
        else:
            self.uses.deletes.setdefault(node.id, node.lineno)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.read(node.target.id, node.lineno)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0], node.lineno)

    visit_ImportFrom = visit_Import

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bind(node.name, node.lineno)
            self.uses.deletes.setdefault(node.name, node.lineno)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.bind(node.name, node.lineno)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.bind(node.name, node.lineno)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bind(node.rest, node.lineno)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self.uses.declared.setdefault(name, node.lineno)

    visit_Nonlocal = visit_Global

    def visit_comprehension_scope(self, node: Comprehension) -> None:
        # The first iterable belongs to the scope around; the rest has a scope of its own,
        # through which a walrus binds outside: [y := f(x) for x in xs] binds y here.
        first, *others = node.generators
        self.visit(first.iter)
        inner = _NameCollector()
        for part in (first.target, *first.ifs):
            inner.visit(part)
        for generator in others:
            inner.visit(generator)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            inner.visit(part)
        own = {name for g in node.generators for name in target_names(g.target)}
        for name, line in inner.uses.reads.items():
            if name not in own:
                self.read(name, line)
        for name, line in inner.uses.binds.items():
            if name not in own:
                self.bind(name, line)
        self._pass_on(inner.uses, own)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_scope

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        for default in (*arguments.defaults, *(d for d in arguments.kw_defaults if d)):
            self.visit(default)
        if not isinstance(node, ast.Lambda):
            self.bind(node.name, node.lineno)
            for decorator in node.decorator_list:
                self.visit(decorator)
            for annotation in (node.returns, *(a.annotation for a in _arguments(arguments))):
                if annotation:
                    self.visit(annotation)
        inner = _NameCollector()
        for part in [node.body] if isinstance(node, ast.Lambda) else node.body:
            inner.visit(part)
        own = {argument.arg for argument in _arguments(arguments)}
        own |= {n for n in inner.uses.binds if n not in inner.uses.declared}
        for name, line in inner.uses.reads.items():
            if name not in own:
                self.read(name, line)
                self.uses.deferred.setdefault(name, line)
        self._pass_on(inner.uses, own)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bind(node.name, node.lineno)
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        inner = _NameCollector()
        for statement in node.body:
            inner.visit(statement)
        # A name bound in a class body may still be read from outside before that.
        for name, line in inner.uses.reads.items():
            self.read(name, line)
        self._pass_on(inner.uses, set())

    def _pass_on(self, inner: NameUses, own: set[str]) -> None:
        for name, line in inner.deferred.items():
            if name not in own:
                self.uses.deferred.setdefault(name, line)
        for name, line in inner.declared.items():
            self.uses.declared.setdefault(name, line)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [a for a in (arguments.vararg, arguments.kwarg) if a]
