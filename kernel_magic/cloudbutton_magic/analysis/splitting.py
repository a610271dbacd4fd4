"""Splits a loop body into work for the workers and statements the kernel runs in order.

``total += f(x)`` depends on the iteration before, but only through `total`: a worker can
compute ``f(x)`` and the kernel add it. So the body is cut in two. The names that connect
iterations (accumulators, containers that are filled, "best so far" variables) are *shared*;
the statements that touch them are *sites*, executed by the kernel in item order; all other
statements, and those parts of a site that do not touch a shared name (its *holes*), are the
work. What cannot be cut like this is refused.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import knowledge
from .calls import Surroundings
from .changes import INDEXERS, Change, Origins, changes
from .live import UNKNOWN, root
from .loops import Loop
from .names import COMPREHENSIONS, FUNCTIONS, uses
from .verdict import Reason, Refusal, Site, SiteKind, refuse

_CHEAP_NODES = (
    ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.BinOp, ast.Compare,
    ast.BoolOp, ast.UnaryOp, ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr,
    ast.FormattedValue, ast.Starred, ast.Call,
)  # fmt: skip


@dataclass
class Splitter:
    """Cuts the body of one loop, given the names that connect its iterations."""

    loop: Loop
    around: Surroundings
    shared: dict[str, Reason]
    """Each shared name with the reason to give if the cut fails."""
    own_slot: dict[str, str] = field(default_factory=dict)
    """For containers read and written only at the item's own index, that index."""
    sites: list[Site] = field(default_factory=list)
    _in_try: int = 0

    def __post_init__(self) -> None:
        self._bound = frozenset(uses(self.loop.body).binds) | frozenset(
            uses(self.loop.target).binds
        )

    # -- which statements belong to the kernel ---------------------------------------

    def settle(self) -> None:
        """Add to `shared` what statements of the kernel bind, until nothing is added."""
        while True:
            before = len(self.shared)
            self._mark(self.loop.body)
            if len(self.shared) == before:
                return

    def _mark(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            if not self._touches(statement):
                continue
            if self._is_shell(statement):
                for part in _blocks(statement):
                    self._mark(part)
            else:
                for name, line in uses(statement).binds.items():
                    if name in self.around.local:
                        self.shared.setdefault(name, Reason.CARRIED)

    def _touches(self, node: ast.AST | Iterable[ast.AST]) -> str | None:
        """Return the shared name that `node` uses, leaving out reads of the item's own slot."""
        nodes = [node] if isinstance(node, ast.AST) else list(node)
        hidden: set[int] = set()
        for top in nodes:
            for child in ast.walk(top):
                if self._is_own_slot_read(child):
                    hidden |= {id(part) for part in ast.walk(child)}
                name = None
                if isinstance(child, ast.Name) and id(child) not in hidden:
                    name = child.id
                elif isinstance(child, ast.ExceptHandler):
                    name = child.name
                elif isinstance(child, (ast.Import, ast.ImportFrom)):
                    name = next(iter(set(uses(child).binds) & set(self.shared)), None)
                elif isinstance(child, (ast.MatchAs, ast.MatchStar)):
                    name = child.name
                if name in self.shared:
                    return name
        return None

    def _is_own_slot_read(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.value, ast.Name)
            and self.own_slot.get(node.value.id) == ast.dump(node.slice)
        )

    def _is_shell(self, node: ast.stmt) -> bool:
        """Tell whether `node` only steers, so that its blocks can be cut one by one."""
        if isinstance(node, (ast.If, ast.While)):
            return not self._touches(node.test)
        if isinstance(node, ast.For):
            return not self._touches([node.iter, node.target])
        if isinstance(node, ast.With):
            return not self._touches(node.items)
        if isinstance(node, ast.Match):
            return not self._touches([node.subject, *(c.pattern for c in node.cases)]) and not any(
                case.guard is not None and self._touches(case.guard) for case in node.cases
            )
        if isinstance(node, ast.Try):
            return not any(
                handler.name in self.shared or (handler.type and self._touches(handler.type))
                for handler in node.handlers
            )
        return False

    # -- the cut ---------------------------------------------------------------------

    def cut(self) -> None:
        """Fill `sites`, or raise a refusal."""
        self._cut(self.loop.body)

    def _cut(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            if statement is self.loop.result:
                self._yield(self.loop.result)
            elif not self._touches(statement):
                if _contains(statement, self.loop.result):
                    for part in _blocks(statement):
                        self._cut(part)
            elif isinstance(statement, ast.Try) and self._is_shell(statement):
                self._in_try += bool(statement.handlers)
                self._cut(statement.body)
                self._in_try -= bool(statement.handlers)
                for part in (*(h.body for h in statement.handlers), statement.orelse,
                             statement.finalbody):  # fmt: skip
                    self._cut(part)
            elif self._is_shell(statement):
                for part in _blocks(statement):
                    self._cut(part)
            else:
                self._site(statement)

    def _yield(self, node: ast.Expr) -> None:
        name = self._touches(node)
        if name is not None:
            raise refuse(self.shared[name], node, name)
        parts = (
            tuple(node.value.elts)
            if self.loop.kind == "dict" and isinstance(node.value, ast.Tuple)
            else (node.value,)
        )
        self.sites.append(Site(len(self.sites), node, "yield", parts, ()))

    def _site(self, node: ast.stmt) -> None:
        effect = self._simple_effect(node)
        cutter = _Cutter(self, node)
        if isinstance(node, (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match)):
            if isinstance(node, ast.If):
                cutter.take(node.test)
                for part in (*node.body, *node.orelse):
                    cutter.stay(part)
            else:
                raise self._carried(node)
        else:
            cutter.statement(node)
        kind: SiteKind = effect or "fold"
        checks = self._checks(node, kind) if self._in_try else ()
        bound = {name for name in uses(node).binds if name not in self.shared}
        if bound & self.around.local:
            raise self._carried(node)
        self.sites.append(
            Site(
                len(self.sites), node, kind, tuple(cutter.holes), tuple(cutter.inputs),
                frozenset(), checks,
            )
        )  # fmt: skip

    def _carried(self, node: ast.AST) -> Refusal:
        name = self._touches(node) or ""
        return refuse(self.shared.get(name, Reason.CARRIED), _line_of(node, name), name)

    def _simple_effect(self, node: ast.stmt) -> SiteKind | None:
        """Return how a statement uses its operands if it reads shared names only to write them."""
        if isinstance(node, ast.AugAssign):
            place = node.target
            if isinstance(place, ast.Name):
                return None if self._touches(node.value) else "consume"
            if self._touches(node.value) or self._index_touches(place):
                return None
            return "consume"
        if isinstance(node, ast.Assign) and not self._touches(node.value):
            if all(
                isinstance(t, ast.Subscript) and not self._index_touches(t) for t in node.targets
            ):
                return "store" if all(self._stores(t) for t in node.targets) else "consume"
            return None
        if isinstance(node, ast.Delete):
            return "consume" if not any(self._index_touches(t) for t in node.targets) else None
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if isinstance(call.func, ast.Attribute) and not self._touches(
                [*call.args, *call.keywords]
            ):
                if self._index_touches(call.func.value):
                    return None
                return "store" if call.func.attr in knowledge.STORING else "consume"
        return None

    def _stores(self, target: ast.expr) -> bool:
        name = root(target)
        value = self.around.live.get(name) if name else UNKNOWN
        names = knowledge.type_names(value)
        return value is UNKNOWN or "dict" in names or "list" in names

    def _index_touches(self, place: ast.expr) -> bool:
        """Tell whether an index or argument on the way to the object touches a shared name."""
        node: ast.AST = place
        while True:
            if isinstance(node, ast.Subscript):
                if self._touches(node.slice):
                    return True
                node = node.value
            elif isinstance(node, ast.Attribute):
                node = node.value
            elif isinstance(node, ast.Call):
                if self._touches([*node.args, *node.keywords]):
                    return True
                node = node.func
            else:
                return False

    def _checks(self, node: ast.stmt, kind: SiteKind) -> tuple[str, ...]:
        """Return what to check in the worker so that the kernel's part cannot raise.

        An exception there would not be caught by the `try` around the statement.
        """
        if kind == "fold":
            raise self._carried(node)
        target: ast.AST = node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            func = node.value.func
            assert isinstance(func, ast.Attribute)
            if isinstance(func.value, ast.Name):
                value = self.around.live.get(func.value.id)
                names = knowledge.type_names(value)
                if func.attr == "append" and ("list" in names or value is UNKNOWN):
                    return ()
                if func.attr == "add" and ("set" in names or value is UNKNOWN):
                    return ("hash",)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                value = self.around.live.get(target.value.id)
                if "dict" in knowledge.type_names(value) or value is UNKNOWN:
                    return ("hash-last",)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            value = self.around.live.get(node.target.id)
            if isinstance(value, (int, float)) or value is UNKNOWN:
                return ("number",)
        raise self._carried(node)


class _Cutter:
    """Takes the holes out of one statement, in the order Python evaluates them."""

    def __init__(self, splitter: Splitter, node: ast.stmt) -> None:
        self.split = splitter
        self.node = node
        self.holes: list[ast.expr] = []
        self.inputs: list[str] = []

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self.take(node.value)
            for target in node.targets:
                self._place(target)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.take(node.value)
            self._place(node.target)
        elif isinstance(node, ast.AugAssign):
            self._place(node.target)
            self.take(node.value)
        elif isinstance(node, ast.Expr):
            self.take(node.value, statement=True)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    raise self.split._carried(self.node)
                self._place(target)
        else:
            raise self.split._carried(node)

    def _place(self, target: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._place(part)
        elif isinstance(target, ast.Starred):
            self._place(target.value)
        elif isinstance(target, ast.Subscript):
            self._place(target.value)
            self.take(target.slice)
        elif isinstance(target, ast.Attribute):
            if target.attr not in INDEXERS:
                name = root(target) or ""
                raise refuse(Reason.ATTRIBUTE_WRITE, target, name)
            self._place(target.value)
        elif isinstance(target, ast.Name):
            if target.id not in self.split.shared:
                raise self.split._carried(self.node)
        else:
            self.take(target)

    def take(self, node: ast.expr, *, statement: bool = False) -> None:
        """Make `node` a hole if it touches nothing shared; else look into it."""
        if isinstance(node, ast.Constant):
            return
        if not self.split._touches(node):
            if self._is_constant(node):
                return
            if isinstance(node, ast.Slice):
                for part in (node.lower, node.upper, node.step):
                    if part is not None:
                        self.take(part)
                return
            if isinstance(node, ast.Starred):
                self.take(node.value)
                return
            self.holes.append(node)
            return
        self._check_cheap(node, statement=statement)
        if isinstance(node, ast.BoolOp):
            self.take(node.values[0])
            for value in node.values[1:]:
                self.stay(value)
        elif isinstance(node, ast.IfExp):
            self.take(node.test)
            self.stay(node.body)
            self.stay(node.orelse)
        elif isinstance(node, ast.Compare) and len(node.ops) > 1:
            self.take(node.left)
            self.take(node.comparators[0])
            for value in node.comparators[1:]:
                self.stay(value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if key is not None:
                    self.take(key)
                self.take(value)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                self.take(node.func.value)
            for argument in node.args:
                self.take(argument)
            for keyword in node.keywords:
                self.take(keyword.value)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.take(child)

    def _is_constant(self, node: ast.expr) -> bool:
        """Tell whether the kernel can look it up as well: outer names, and nothing called."""
        return all(
            isinstance(child, (ast.Constant, ast.Attribute, ast.expr_context, ast.UnaryOp, ast.USub))
            or (isinstance(child, ast.Name) and child.id not in self.split.around.local)
            for child in ast.walk(node)
        )

    def stay(self, node: ast.AST) -> None:
        """Leave `node` whole in the kernel, where it may or may not be reached."""
        if isinstance(node, ast.stmt) and not isinstance(
            node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.Pass, ast.Delete)
        ):
            raise self.split._carried(self.node)
        for child in ast.walk(node):
            if isinstance(child, ast.expr):
                self._check_cheap(child, statement=isinstance(node, ast.Expr))
            if isinstance(child, ast.stmt) and not isinstance(
                child,
                (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.Pass, ast.Delete),
            ):
                raise self.split._carried(self.node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Del):
                raise self.split._carried(self.node)
            if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
                if child.attr not in INDEXERS:
                    raise refuse(Reason.ATTRIBUTE_WRITE, child, root(child) or "")
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                self._input(child.id)

    def _input(self, name: str) -> None:
        if name in self.split.around.local and name not in self.split.shared:
            if name not in self.inputs:
                self.inputs.append(name)

    def _check_cheap(self, node: ast.expr, *, statement: bool = False) -> None:
        """Refuse what is not bookkeeping: the kernel's part must be light and known."""
        if isinstance(node, (ast.NamedExpr, *FUNCTIONS, *COMPREHENSIONS)) or not isinstance(
            node, _CHEAP_NODES
        ):
            raise self.split._carried(node if self.split._touches(node) else self.node)
        if not isinstance(node, ast.Call):
            return
        split = self.split
        if isinstance(node.func, ast.Name):
            value = split.around.live.get(node.func.id)
            builtin = value is UNKNOWN or getattr(value, "__module__", "") == "builtins"
            if node.func.id in split.around.local or not (
                node.func.id in knowledge.CHEAP_CALLS and builtin
            ):
                self._not_cheap(node)
            return
        if not isinstance(node.func, ast.Attribute):
            self._not_cheap(node)
        assert isinstance(node.func, ast.Attribute)
        value = split.around.value_of(node.func)
        if value is not UNKNOWN and not isinstance(value, type):
            module = (getattr(value, "__module__", None) or "").partition(".")[0]
            if f"{module}.{getattr(value, '__name__', '')}" in knowledge.FOLDS:
                return
            self._not_cheap(node)
        name = root(node.func.value)
        receiver = split.around.live.get(name) if name else UNKNOWN
        if name in split.shared and receiver is not UNKNOWN and name not in split.around.local:
            plain = isinstance(node.func.value, ast.Name)
            if plain:
                known = knowledge.changing_methods(receiver)
                if known is not None and node.func.attr in known | knowledge.CHEAP_METHODS:
                    if node.func.attr in knowledge.effect_methods(receiver) or (
                        node.func.attr in knowledge.CHEAP_METHODS
                    ):
                        return
                if known is None and knowledge.is_atom(receiver):
                    return
                raise _changed(receiver, node, name)
            if node.func.attr in knowledge.CHEAP_METHODS:
                return
            raise refuse(Reason.MUTATES_CAPTURED, node, name)
        if node.func.attr not in knowledge.CHEAP_METHODS:
            if name in split.shared and split.shared[name] is Reason.MUTATES_CAPTURED:
                raise refuse(Reason.MUTATES_CAPTURED, node, name)
            self._not_cheap(node)

    def _not_cheap(self, node: ast.Call) -> None:
        raise self.split._carried(node if self.split._touches(node) else self.node)


def _changed(receiver: object, node: ast.Call, name: str) -> Refusal:
    """Return the refusal for a method that changes a captured object of this type."""
    if knowledge.is_file(receiver):
        return refuse(Reason.FILE_HANDLE, node, name)
    if knowledge.is_random(receiver):
        return refuse(Reason.RANDOM, node, detail=f"`{name}`")
    if knowledge.is_iterator(receiver):
        return refuse(Reason.ITERATOR, node, name)
    if type(receiver).__module__.partition(".")[0] == "matplotlib":
        return refuse(Reason.PLOT, node, name)
    return refuse(Reason.MUTATES_CAPTURED, node, name)


def shared_objects(
    loop: Loop, around: Surroundings, origins: Origins, targets: frozenset[str]
) -> list[tuple[Change, frozenset[str]]]:
    """Return the changes of outer objects made in the body, with the outer names concerned."""
    found = []
    for statement in loop.body:
        for change in changes(statement, around.value_of):
            outer = {change.name} if change.name not in around.local else {
                name for name in origins.of(change.name) if name not in targets
            }
            outer = {name for name in outer if not _immutable(around.live.get(name), change)}
            if outer:
                found.append((change, frozenset(outer)))
    return found


def _immutable(value: object, change: Change) -> bool:
    if change.how == "attribute" or isinstance(value, types.ModuleType):
        return False
    return value is not UNKNOWN and knowledge.is_atom(value)


def _blocks(node: ast.stmt) -> list[list[ast.stmt]]:
    blocks = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    blocks += [part.body for part in getattr(node, "handlers", ())]
    blocks += [part.body for part in getattr(node, "cases", ())]
    return [block for block in blocks if block]


def _contains(node: ast.AST, wanted: ast.AST | None) -> bool:
    return wanted is not None and any(child is wanted for child in ast.walk(node))


def _line_of(node: ast.AST, name: str) -> int:
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and child.id == name and isinstance(child.ctx, ast.Load):
            return child.lineno
    return getattr(node, "lineno", 0)
