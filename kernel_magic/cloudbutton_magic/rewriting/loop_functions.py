"""Makes two functions of a loop: its body for a worker, its bookkeeping for the kernel.

For ``for x in xs: y = f(x); out.append(y); total += g(y)`` they are::

    def body(item, op, deleted, snapshot, check):   def apply(ops):
        for x in (item,):                               global total
            y = f(x)                                    for op in ops:
            op((0, y))                                      if op[0] == 0:
            op((1, snapshot(g(y), False)))                      _, h0 = op
        return locals()                                         out.append(h0)
                                                            if op[0] == 1:
                                                                _, h0 = op
                                                                total += h0

The nodes are the user's own, so both functions carry the cell's file name and lines, and a
traceback points there. A loop of one turn around the body makes `continue` and every kind of
target work as they stand.
"""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cloudbutton_magic.analysis.loops import Loop
from cloudbutton_magic.analysis.syntax import uses
from cloudbutton_magic.analysis.verdict import LoopSite, Parallel

PREFIX: Final = "__cb_"
ITERABLE_ARGUMENT: Final = f"{PREFIX}it"
"""The only argument of what stands in for a comprehension that runs here."""
Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True)
class LoopTrees:
    """The functions of one loop as trees."""

    body: ast.FunctionDef
    apply: ast.FunctionDef


def build_functions(loop: Loop, verdict: Parallel) -> LoopTrees:
    """Return the two functions that replace `loop`."""
    return LoopTrees(_body(loop, verdict), _apply(loop, verdict))


def compile_function(
    tree: ast.FunctionDef, filename: str, flags: int, namespace: dict[str, Any]
) -> types.FunctionType:
    """Compile a function whose globals are `namespace`, without binding its name there."""
    module = ast.fix_missing_locations(ast.Module(body=[copy.deepcopy(tree)], type_ignores=[]))
    code = compile(module, filename, "exec", flags, dont_inherit=True)
    scratch: dict[str, Any] = {}
    exec(code, namespace, scratch)
    function = scratch[tree.name]
    assert isinstance(function, types.FunctionType)
    return function


def _body(loop: Loop, verdict: Parallel) -> ast.FunctionDef:
    memo: dict[int, Any] = {}
    body = copy.deepcopy(list(loop.body), memo)
    records = {id(memo[id(site.node)]): _record(site, memo) for site in verdict.sites}
    turn = ast.For(
        target=copy.deepcopy(loop.target),
        iter=ast.Tuple(elts=[_name(f"{PREFIX}item")], ctx=ast.Load()),
        body=_replaced(body, records),
        orelse=[],
    )
    end = ast.Return(value=ast.Call(func=_name("locals"), args=[], keywords=[]))
    arguments = [f"{PREFIX}{n}" for n in ("item", "op", "deleted", "snapshot", "check")]
    return _function(f"{PREFIX}body", arguments, [turn, end], loop.line)


def _record(site: LoopSite, memo: dict[int, Any]) -> list[ast.stmt]:
    """Return the statements that record the operands of `site` instead of executing it."""
    elements: list[ast.expr] = [ast.Constant(value=site.index)]
    for hole in site.holes:
        value = memo.get(id(hole)) or copy.deepcopy(hole)
        if _read_at_once(site):
            # What has a name may be changed later in the iteration; what was just computed
            # belongs to nobody else.
            named = isinstance(hole, (ast.Name, ast.Attribute, ast.Subscript, ast.IfExp))
            value = _call(f"{PREFIX}snapshot", value, ast.Constant(value=named))
        elements.append(value)
    elements += [_name(name) for name in site.inputs]
    operands = ast.Tuple(elts=elements, ctx=ast.Load())
    if not site.checks:
        return [_with_line(ast.Expr(value=_call(f"{PREFIX}op", operands)), site.line)]
    held = f"{PREFIX}held"
    check = site.checks[0].partition("-")[0]
    return [
        _with_line(
            ast.Assign(targets=[ast.Name(id=held, ctx=ast.Store())], value=operands), site.line
        ),
        _with_line(
            ast.Expr(
                value=_call(
                    f"{PREFIX}check",
                    ast.Constant(value=check),
                    ast.Starred(value=_name(held), ctx=ast.Load()),
                )
            ),
            site.line,
        ),
        _with_line(ast.Expr(value=_call(f"{PREFIX}op", _name(held))), site.line),
    ]


def _read_at_once(site: LoopSite) -> bool:
    """Tell whether the plain statement uses its operands up instead of keeping them."""
    if site.kind == "fold" and isinstance(site.node, (ast.Assign, ast.AugAssign)):
        return isinstance(site.node.value, ast.BinOp)
    return site.kind == "consume"


def _replaced(body: list[ast.stmt], records: dict[int, list[ast.stmt]]) -> list[ast.stmt]:
    """Return `body` with sites replaced by their records and deletions noted."""
    out: list[ast.stmt] = []
    for statement in body:
        if id(statement) in records:
            out += records[id(statement)]
            continue
        for name in ("body", "orelse", "finalbody"):
            block = getattr(statement, name, None)
            if isinstance(block, list):
                setattr(statement, name, _replaced(block, records))
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            part.body = _replaced(part.body, records)
            if isinstance(part, ast.ExceptHandler) and part.name:
                part.body.insert(0, _note_deleted(part.name, part.lineno))
        out.append(statement)
        if isinstance(statement, ast.Delete):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    out.append(_note_deleted(target.id, statement.lineno))
    return out


def _note_deleted(name: str, line: int) -> ast.stmt:
    note: ast.stmt = ast.Expr(value=_call(f"{PREFIX}deleted", ast.Constant(value=name)))
    return _with_line(note, line)


def _apply(loop: Loop, verdict: Parallel) -> ast.FunctionDef:
    sites = [site for site in verdict.sites if site.kind != "yield"]
    written = sorted({name for site in sites for name in uses(site.node).binds})
    branches: list[ast.stmt] = []
    for site in sites:
        holes = {id(hole): f"{PREFIX}v{index}" for index, hole in enumerate(site.holes)}
        names = [f"{PREFIX}_", *holes.values(), *site.inputs]
        unpack = ast.Assign(
            targets=[
                ast.Tuple(elts=[ast.Name(id=n, ctx=ast.Store()) for n in names], ctx=ast.Store())
            ],
            value=_name(f"{PREFIX}op"),
        )
        kept = _HoleFiller(holes).visit_copy(site.node)
        test = ast.Compare(
            left=ast.Subscript(
                value=_name(f"{PREFIX}op"), slice=ast.Constant(value=0), ctx=ast.Load()
            ),
            ops=[ast.Eq()],
            comparators=[ast.Constant(value=site.index)],
        )
        branches.append(
            _with_line(
                ast.If(test=test, body=[_with_line(unpack, site.line), kept], orelse=[]), site.line
            )
        )
    loop_over = ast.For(
        target=ast.Name(id=f"{PREFIX}op", ctx=ast.Store()),
        iter=_name(f"{PREFIX}ops"),
        body=branches or [ast.Pass()],
        orelse=[],
    )
    start: list[ast.stmt] = [ast.Global(names=written)] if written else []
    return _function(f"{PREFIX}apply", [f"{PREFIX}ops"], [*start, loop_over], loop.line)


class _HoleFiller:
    """Copies a statement with its holes replaced by names."""

    def __init__(self, holes: dict[int, str]) -> None:
        self.holes = holes

    def visit_copy(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.visit_copy(part) for part in node]
        if not isinstance(node, ast.AST):
            return node
        if id(node) in self.holes:
            return ast.copy_location(_name(self.holes[id(node)]), node)
        fields = {name: self.visit_copy(value) for name, value in ast.iter_fields(node)}
        return ast.copy_location(type(node)(**fields), node)


def plain_function(loop: Loop) -> ast.FunctionDef:
    """Return ``def plain(it): return [… for … in it …]`` for a comprehension."""
    outside = sorted(uses(loop.node).binds)
    start: list[ast.stmt] = [ast.Global(names=outside)] if outside else []
    value = _over_items(loop)
    return _function(
        f"{PREFIX}plain", [ITERABLE_ARGUMENT], [*start, ast.Return(value=value)], loop.line
    )


def plain_lambda(loop: Loop) -> ast.Lambda:
    """Return ``lambda it: [… for … in it …]``, which sees the variables of the function around."""
    made = ast.parse(f"lambda {ITERABLE_ARGUMENT}: None", mode="eval").body
    assert isinstance(made, ast.Lambda)
    made.body = _over_items(loop)
    return ast.copy_location(made, loop.node)


def _over_items(loop: Loop) -> ast.expr:
    """Return a comprehension that walks over ``it``.

    Sets, dicts and generators become generators, so that their parts can be put together.
    """
    node = copy.deepcopy(loop.node)
    assert not isinstance(node, ast.For)
    node.generators[0].iter = _with_line(_name(ITERABLE_ARGUMENT), loop.line)
    if isinstance(node, ast.DictComp):
        value: ast.expr = ast.GeneratorExp(
            elt=ast.Tuple(elts=[node.key, node.value], ctx=ast.Load()), generators=node.generators
        )
    elif isinstance(node, ast.ListComp):
        value = node
    else:
        value = ast.GeneratorExp(elt=node.elt, generators=node.generators)
    return ast.copy_location(value, node)


def _function(
    name: str, arguments: Iterable[str], body: list[ast.stmt], line: int
) -> ast.FunctionDef:
    # Through the parser, because FunctionDef has more fields with each Python version.
    tree = ast.parse(f"def {name}({', '.join(arguments)}): pass").body[0]
    assert isinstance(tree, ast.FunctionDef)
    ast.increment_lineno(tree, line - 1)
    tree.body = [_with_line(statement, line) for statement in body]
    return tree


def _with_line(node: Node, line: int) -> Node:
    """Give `node` and what it was built from the line of the user's code, where they lack one."""
    for child in ast.walk(node):
        if "lineno" in child._attributes and not hasattr(child, "lineno"):
            child.lineno = child.end_lineno = line  # type: ignore[attr-defined]
            child.col_offset = child.end_col_offset = 0  # type: ignore[attr-defined]
    return node


def _name(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Load())


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(func=_name(function), args=list(arguments), keywords=[])
