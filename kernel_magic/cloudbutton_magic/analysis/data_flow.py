"""Find the names that code reads before it has bound them: those that one iteration hands to the next.

A forward pass over the code with the set of names that are certainly bound. It errs
towards "not bound"; a name that the worker would then miss raises there, and the iteration
is run again in the kernel, so an optimistic answer about `with` costs time, never a value.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, target_names, uses

State = frozenset[str]
Flow = State | None
"""After `continue`, `break`, `return` or `raise` nothing follows."""


def _meet(*flows: Flow) -> Flow:
    live = [flow for flow in flows if flow is not None]
    return frozenset.intersection(*live) if live else None


def read_before_bound(body: Iterable[ast.stmt]) -> set[str]:
    """Return the names that code binds and may read before it does, at a time that is known."""
    body = list(body)
    flow = DefiniteAssignment(body, bound=(), watched=set(uses(body).binds), deferred=False)
    return set(flow.unbound)


class DefiniteAssignment:
    """Run over `body` with `bound` certainly bound at the start.

    ``unbound`` maps each of `watched` that is read while not certainly bound to its first
    line; ``at_end`` is what every iteration has bound when it ends. Reads in functions, which run
    at a time that is not known, count where `deferred` says so.
    """

    def __init__(
        self,
        body: Iterable[ast.stmt],
        *,
        bound: Iterable[str],
        watched: set[str],
        deferred: bool = True,
    ) -> None:
        self.watched = watched
        self.deferred = deferred
        self.unbound: dict[str, int] = {}
        self._ends: list[Flow] = []
        self._breaks: list[list[Flow]] = []
        """For each inner loop around, what is bound where it is left by `break`."""
        self._ends.append(self.block(body, frozenset(bound)))
        self.at_end: State = _meet(*self._ends) or frozenset()

    # -- statements ------------------------------------------------------------------

    def block(self, body: Iterable[ast.stmt], state: Flow) -> Flow:
        for statement in body:
            if state is None:
                break
            state = self.statement(statement, state)
        return state

    def statement(self, node: ast.stmt, state: State) -> Flow:
        method = getattr(self, f"do_{type(node).__name__}", None)
        if method is not None:
            return method(node, state)  # type: ignore[no-any-return]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                state = self.expr(child, state)
        return state | frozenset(uses(node).binds)

    def do_Assign(self, node: ast.Assign, state: State) -> Flow:
        state = self.expr(node.value, state)
        for target in node.targets:
            state = self.target(target, state)
        return state

    def do_AnnAssign(self, node: ast.AnnAssign, state: State) -> Flow:
        if node.value is None:
            return state
        return self.target(node.target, self.expr(node.value, state))

    def do_AugAssign(self, node: ast.AugAssign, state: State) -> Flow:
        if isinstance(node.target, ast.Name):
            self.read(node.target.id, node.lineno, state)
        return self.target(node.target, self.expr(node.value, state))

    def do_Delete(self, node: ast.Delete, state: State) -> Flow:
        gone = set()
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.read(target.id, target.lineno, state)
                gone.add(target.id)
            else:
                state = self.expr(target, state)
        return state - gone

    def do_If(self, node: ast.If, state: State) -> Flow:
        true, false = self.test(node.test, state)
        return _meet(self.block(node.body, true), self.block(node.orelse, false))

    def do_For(self, node: ast.For, state: State) -> Flow:
        state = self.expr(node.iter, state)
        self._breaks.append([])
        self.block(node.body, self.target(node.target, state))
        return _meet(self.block(node.orelse, state), *self._breaks.pop())

    def do_While(self, node: ast.While, state: State) -> Flow:
        true, false = self.test(node.test, state)
        self._breaks.append([])
        self.block(node.body, true)
        forever = isinstance(node.test, ast.Constant) and bool(node.test.value)
        after = None if forever else self.block(node.orelse, false)
        return _meet(after, *self._breaks.pop())

    def do_With(self, node: ast.With, state: State) -> Flow:
        before = state
        for item in node.items:
            state = self.expr(item.context_expr, state)
            if item.optional_vars is not None:
                state = self.target(item.optional_vars, state)
        after = self.block(node.body, state)
        if any("suppress" in ast.unparse(item.context_expr) for item in node.items):
            return _meet(before, after)
        return after

    def do_Try(self, node: ast.Try, state: State) -> Flow:
        normal = self.block(node.body, state)
        if normal is not None:
            normal = self.block(node.orelse, normal)
        ends = [normal]
        for handler in node.handlers:
            if handler.type is not None:
                self.expr(handler.type, state)
            inside = state | {handler.name} if handler.name else state
            end = self.block(handler.body, inside)
            ends.append(end - {handler.name} if end is not None and handler.name else end)
        after = _meet(*ends)
        if node.finalbody:
            final = self.block(node.finalbody, state)
            if final is None or after is None:
                return None
            return after | (final - state)
        return after

    do_TryStar = do_Try

    def do_Match(self, node: ast.Match, state: State) -> Flow:
        state = self.expr(node.subject, state)
        ends: list[Flow] = []
        exhaustive = False
        for case in node.cases:
            inside = state | frozenset(uses(case.pattern).binds)
            if case.guard is not None:
                inside, _ = self.test(case.guard, inside)
            ends.append(self.block(case.body, inside))
            exhaustive |= case.guard is None and _irrefutable(case.pattern)
        return _meet(*ends) if exhaustive else _meet(state, *ends)

    def do_Continue(self, node: ast.Continue, state: State) -> Flow:
        if not self._breaks:
            self._ends.append(state)
        return None

    def do_Break(self, node: ast.Break, state: State) -> Flow:
        if self._breaks:
            self._breaks[-1].append(state)
        else:
            self._ends.append(state)
        return None

    def do_Raise(self, node: ast.Raise, state: State) -> Flow:
        for part in (node.exc, node.cause):
            if part is not None:
                self.expr(part, state)
        return None

    def do_Return(self, node: ast.Return, state: State) -> Flow:
        if node.value is not None:
            self.expr(node.value, state)
        return None

    def do_FunctionDef(self, node: ast.FunctionDef, state: State) -> Flow:
        for decorator in node.decorator_list:
            state = self.expr(decorator, state)
        self.function(node, state)
        return state | {node.name}

    do_AsyncFunctionDef = do_FunctionDef

    def do_ClassDef(self, node: ast.ClassDef, state: State) -> Flow:
        if self.deferred:
            for name, line in uses(node).reads.items():
                self.read(name, line, state)
        else:
            for part in (*node.decorator_list, *node.bases):
                state = self.expr(part, state)
            self.block(node.body, state)
        return state | {node.name}

    # -- expressions -----------------------------------------------------------------

    def read(self, name: str, line: int, state: State) -> None:
        if name in self.watched and name not in state:
            self.unbound.setdefault(name, line)

    def function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, state: State
    ) -> None:
        if self.deferred:
            for name, line in uses(node).reads.items():
                self.read(name, line, state)
        else:
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                self.expr(default, state)

    def target(self, node: ast.expr, state: State) -> State:
        """Evaluate what a target reads (``a[i]`` reads a and i), then bind its names."""
        for child in ast.walk(node):
            if isinstance(child, (ast.Subscript, ast.Attribute)):
                state = self.expr(child.value, state)
                if isinstance(child, ast.Subscript):
                    state = self.expr(child.slice, state)
        return state | frozenset(target_names(node))

    def test(self, node: ast.expr, state: State) -> tuple[State, State]:
        """Return the states where `node` is true and where it is false."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            true, false = self.test(node.operand, state)
            return false, true
        if isinstance(node, ast.BoolOp):
            conjunction = isinstance(node.op, ast.And)
            leaving: list[State] = []
            for value in node.values:
                true, false = self.test(value, state)
                state, out = (true, false) if conjunction else (false, true)
                leaving.append(out)
            met = frozenset.intersection(*leaving)
            return (state, met) if conjunction else (met, state)
        state = self.expr(node, state)
        return state, state

    def expr(self, node: ast.expr, state: State) -> State:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.read(node.id, node.lineno, state)
            return state
        if isinstance(node, ast.NamedExpr):
            return self.expr(node.value, state) | {node.target.id}
        if isinstance(node, ast.BoolOp):
            true, false = self.test(node, state)
            return true & false
        if isinstance(node, ast.IfExp):
            true, false = self.test(node.test, state)
            return self.expr(node.body, true) & self.expr(node.orelse, false)
        if isinstance(node, COMPREHENSIONS):
            inner = self.expr(node.generators[0].iter, state)
            scope = uses(node)
            own = frozenset(n for g in node.generators for n in target_names(g.target))
            for name, line in scope.reads.items():
                self.read(name, line, inner | own | frozenset(scope.binds))
            return inner
        if isinstance(node, ast.Lambda):
            self.function(node, state)
            return state
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                state = self.expr(child, state)
            elif isinstance(child, ast.keyword):
                state = self.expr(child.value, state)
        return state


def _irrefutable(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None
