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

from cloudbutton_magic.analysis import type_facts
from cloudbutton_magic.analysis.call_rules import AnalysisContext
from cloudbutton_magic.analysis.loops import Loop
from cloudbutton_magic.analysis.mutations import Mutation, Origins, find_mutations
from cloudbutton_magic.analysis.namespace import UNKNOWN, root_name
from cloudbutton_magic.analysis.statement_split import StatementSplitter
from cloudbutton_magic.analysis.syntax import uses, walk
from cloudbutton_magic.analysis.verdict import LoopSite, Reason, RefusalReason, SiteKind, refuse


@dataclass
class BodySplitter:
    """Cuts the body of one loop, given the names that connect its iterations."""

    loop: Loop
    context: AnalysisContext
    shared: dict[str, Reason]
    """Each shared name with the reason to give if the cut fails."""
    own_slot: dict[str, str] = field(default_factory=dict)
    """For containers read and written only at the item's own index, that index."""
    sites: list[LoopSite] = field(default_factory=list)
    _in_try: int = 0

    def __post_init__(self) -> None:
        self._bound = frozenset(uses(self.loop.body).binds) | frozenset(
            uses(self.loop.target).binds
        )

    # -- which statements belong to the kernel ---------------------------------------

    def extend_shared(self) -> None:
        """Add to `shared` what statements of the kernel bind, until nothing is added."""
        while True:
            before = len(self.shared)
            self._mark(self.loop.body)
            if len(self.shared) == before:
                return

    def _mark(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            if not self.shared_name_in(statement):
                continue
            if self._is_control_flow(statement):
                for part in _blocks(statement):
                    self._mark(part)
            else:
                for name in uses(statement).binds:
                    if name in self.context.local:
                        self.shared.setdefault(name, Reason.CARRIED)

    def shared_name_in(self, node: ast.AST | Iterable[ast.AST]) -> str | None:
        """Return the shared name that `node` uses, leaving out reads of the item's own slot."""
        nodes = [node] if isinstance(node, ast.AST) else list(node)
        hidden: set[int] = set()
        for top in nodes:
            for child in walk(top):
                if self._is_own_slot_read(child):
                    hidden |= {id(part) for part in walk(child)}
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

    def _is_control_flow(self, node: ast.stmt) -> bool:
        """Tell whether `node` only steers, so that its blocks can be cut one by one."""
        if isinstance(node, (ast.If, ast.While)):
            return not self.shared_name_in(node.test)
        if isinstance(node, ast.For):
            return not self.shared_name_in([node.iter, node.target])
        if isinstance(node, ast.With):
            return not self.shared_name_in(node.items)
        if isinstance(node, ast.Match):
            return not self.shared_name_in(
                [node.subject, *(c.pattern for c in node.cases)]
            ) and not any(
                case.guard is not None and self.shared_name_in(case.guard) for case in node.cases
            )
        if isinstance(node, ast.Try):
            return not any(
                handler.name in self.shared or (handler.type and self.shared_name_in(handler.type))
                for handler in node.handlers
            )
        return False

    # -- the cut ---------------------------------------------------------------------

    def split_body(self) -> None:
        """Fill `sites`, or raise a refusal."""
        self._split_block(self.loop.body)

    def _split_block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            if statement is self.loop.result:
                self._yield(self.loop.result)
            elif not self.shared_name_in(statement):
                if _contains(statement, self.loop.result):
                    for part in _blocks(statement):
                        self._split_block(part)
            elif isinstance(statement, ast.Try) and self._is_control_flow(statement):
                self._in_try += bool(statement.handlers)
                self._split_block(statement.body)
                self._in_try -= bool(statement.handlers)
                for part in (
                    *(h.body for h in statement.handlers),
                    statement.orelse,
                    statement.finalbody,
                ):
                    self._split_block(part)
            elif self._is_control_flow(statement):
                for part in _blocks(statement):
                    self._split_block(part)
            else:
                self._site(statement)

    def _yield(self, node: ast.Expr) -> None:
        name = self.shared_name_in(node)
        if name is not None:
            raise refuse(self.shared[name], node, name)
        parts = (
            tuple(node.value.elts)
            if self.loop.kind == "dict" and isinstance(node.value, ast.Tuple)
            else (node.value,)
        )
        self.sites.append(LoopSite(len(self.sites), node, "yield", parts, ()))

    def _site(self, node: ast.stmt) -> None:
        for change in find_mutations(node, self.context.value_of):
            if change.name in self.context.local and change.name not in self.shared:
                # rec["sum"] = total: the worker's own object, which it may use again, would
                # change here and not there.
                raise self.carried_refusal(node)
        effect = self._simple_effect(node)
        part_split = StatementSplitter(self, node)
        if isinstance(node, (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match)):
            if isinstance(node, ast.If):
                part_split.extract(node.test)
                for part in (*node.body, *node.orelse):
                    part_split.keep_whole(part)
            else:
                raise self.carried_refusal(node)
        else:
            part_split.statement(node)
        kind: SiteKind = effect or "fold"
        checks = self._checks(node, kind) if self._in_try else ()
        bound = {name for name in uses(node).binds if name not in self.shared}
        if bound & self.context.local:
            raise self.carried_refusal(node)
        self.sites.append(
            LoopSite(
                len(self.sites),
                node,
                kind,
                tuple(part_split.holes),
                tuple(part_split.inputs),
                frozenset(),
                checks,
            )
        )

    def carried_refusal(self, node: ast.AST) -> RefusalReason:
        name = self.shared_name_in(node) or ""
        return refuse(self.shared.get(name, Reason.CARRIED), _line_of(node, name), name)

    def _simple_effect(self, node: ast.stmt) -> SiteKind | None:
        """Return how a statement uses its operands if it reads shared names only to write them."""
        if isinstance(node, ast.AugAssign):
            place = node.target
            if isinstance(place, ast.Name):
                return None if self.shared_name_in(node.value) else "consume"
            if self.shared_name_in(node.value) or self._index_uses_shared(place):
                return None
            return "consume"
        if isinstance(node, ast.Assign) and not self.shared_name_in(node.value):
            if all(
                isinstance(t, ast.Subscript) and not self._index_uses_shared(t)
                for t in node.targets
            ):
                return "store" if all(self._stores(t) for t in node.targets) else "consume"
            return None
        if isinstance(node, ast.Delete):
            return "consume" if not any(self._index_uses_shared(t) for t in node.targets) else None
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if isinstance(call.func, ast.Attribute) and not self.shared_name_in(
                [*call.args, *call.keywords]
            ):
                if self._index_uses_shared(call.func.value):
                    return None
                return "store" if call.func.attr in type_facts.STORING else "consume"
        return None

    def _stores(self, target: ast.expr) -> bool:
        name = root_name(target)
        value = self.context.live.get(name) if name else UNKNOWN
        names = type_facts.type_names(value)
        return value is UNKNOWN or "dict" in names or "list" in names

    def _index_uses_shared(self, place: ast.expr) -> bool:
        """Tell whether an index or argument on the way to the object touches a shared name."""
        node: ast.AST = place
        while True:
            if isinstance(node, ast.Subscript):
                if self.shared_name_in(node.slice):
                    return True
                node = node.value
            elif isinstance(node, ast.Attribute):
                node = node.value
            elif isinstance(node, ast.Call):
                if self.shared_name_in([*node.args, *node.keywords]):
                    return True
                node = node.func
            else:
                return False

    def _checks(self, node: ast.stmt, kind: SiteKind) -> tuple[str, ...]:
        """Return what to check in the worker so that the kernel's part cannot raise.

        An exception there would not be caught by the `try` around the statement.
        """
        if kind == "fold":
            raise self.carried_refusal(node)
        target: ast.AST = node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            func = node.value.func
            assert isinstance(func, ast.Attribute)
            if isinstance(func.value, ast.Name):
                value = self.context.live.get(func.value.id)
                names = type_facts.type_names(value)
                if func.attr == "append" and ("list" in names or value is UNKNOWN):
                    return ()
                if func.attr == "add" and ("set" in names or value is UNKNOWN):
                    return ("hash",)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                value = self.context.live.get(target.value.id)
                if "dict" in type_facts.type_names(value) or value is UNKNOWN:
                    return ("hash-last",)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            value = self.context.live.get(node.target.id)
            if isinstance(value, (int, float)) or value is UNKNOWN:
                return ("number",)
        raise self.carried_refusal(node)


def shared_objects(
    loop: Loop, context: AnalysisContext, origins: Origins, targets: frozenset[str]
) -> list[tuple[Mutation, frozenset[str]]]:
    """Return the changes of outer objects made in the body, with the outer names concerned."""
    found = []
    for statement in loop.body:
        for change in find_mutations(statement, context.value_of):
            outer = (
                {change.name}
                if change.name not in context.local
                else {name for name in origins.of(change.name) if name not in targets}
            )
            outer = {name for name in outer if not _immutable(context.live.get(name), change)}
            if outer:
                found.append((change, frozenset(outer)))
    return found


def _immutable(value: object, change: Mutation) -> bool:
    if change.how == "attribute" or isinstance(value, types.ModuleType):
        return False
    return value is not UNKNOWN and type_facts.is_atom(value)


def _blocks(node: ast.stmt) -> list[list[ast.stmt]]:
    blocks = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    blocks += [part.body for part in getattr(node, "handlers", ())]
    blocks += [part.body for part in getattr(node, "cases", ())]
    return [block for block in blocks if block]


def _contains(node: ast.AST, wanted: ast.AST | None) -> bool:
    return wanted is not None and any(child is wanted for child in walk(node))


def _line_of(node: ast.AST, name: str) -> int:
    for child in walk(node):
        if isinstance(child, ast.Name) and child.id == name and isinstance(child.ctx, ast.Load):
            return child.lineno
    return getattr(node, "lineno", 0)


def own_slots(
    loop: Loop, context: AnalysisContext, names: Iterable[str], targets: frozenset[str]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the containers that each item reads and writes at its own index only: ``a[i] = f(a[i])``.

    Such a read does not depend on other iterations if no two items have the same index; that is
    checked when the items are known.

    Returns
    -------
    dict
        For those of `names` that are such containers, the index and its targets.
    """
    free = targets - uses(loop.body).binds.keys()
    slots = {}
    for name in names:
        index = _index_of_all_writes(loop, context, name)
        if index is None:
            continue
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if not all(isinstance(part, (ast.Name, ast.Constant)) for part in parts):
            continue  # a[i:i + 2] and a[i % 3] meet other items' places
        used = {part.id for part in parts if isinstance(part, ast.Name)}
        if used and used <= free and _is_read_first(loop, context, name, ast.dump(index)):
            slots[name] = ast.dump(index), tuple(sorted(used))
    return slots


def _index_of_all_writes(loop: Loop, context: AnalysisContext, name: str) -> ast.expr | None:
    """Return the index of all writes ``name[i] = …`` if it is the same one."""
    index: ast.expr | None = None
    for statement in loop.body:
        for change in find_mutations(statement, context.value_of):
            if change.name != name:
                continue
            node = change.node
            if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
                return None
            if index is not None and ast.dump(index) != ast.dump(node.slice):
                return None
            index = node.slice
    return index


def _is_read_first(loop: Loop, context: AnalysisContext, name: str, index: str) -> bool:
    """Tell whether the slot is read, and never after this iteration has written it."""
    written = read = False
    for statement in loop.body:
        reads = any(_reads_slot(node, name, index) for node in walk(statement))
        writes = any(change.name == name for change in find_mutations(statement, context.value_of))
        simple = isinstance(statement, (ast.Assign, ast.AugAssign))
        if reads and (written or (writes and not simple)):
            return False
        read |= reads
        written |= writes
    return read


def _reads_slot(node: ast.AST, name: str, index: str) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
        and ast.dump(node.slice) == index
    )
