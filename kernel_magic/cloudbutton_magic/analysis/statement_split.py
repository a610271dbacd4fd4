"""Cuts one statement of the kernel's part: what a worker computes of it, and what stays."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from cloudbutton_magic.analysis import type_facts
from cloudbutton_magic.analysis.mutations import INDEXERS
from cloudbutton_magic.analysis.namespace import UNKNOWN, root_name
from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, FUNCTIONS, walk
from cloudbutton_magic.analysis.verdict import Reason, RefusalReason, refuse

if TYPE_CHECKING:
    from cloudbutton_magic.analysis.body_split import BodySplitter

_LIGHT: Final = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.Pass, ast.Delete)
_CHEAP_NODES: Final = (
    ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.BinOp, ast.Compare,
    ast.BoolOp, ast.UnaryOp, ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr,
    ast.FormattedValue, ast.Starred, ast.Call,
)  # fmt: skip


class StatementSplitter:
    """Takes the holes out of one statement, in the order Python evaluates them."""

    def __init__(self, splitter: BodySplitter, node: ast.stmt) -> None:
        self.split = splitter
        self.node = node
        self.holes: list[ast.expr] = []
        self.inputs: list[str] = []

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign):
            self.extract(node.value)
            for target in node.targets:
                self._split_target(target)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.extract(node.value)
            self._split_target(node.target)
        elif isinstance(node, ast.AugAssign):
            self._split_target(node.target)
            self.extract(node.value)
        elif isinstance(node, ast.Expr):
            self.extract(node.value, statement=True)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    raise self.split.carried_refusal(self.node)
                self._split_target(target)
        else:
            raise self.split.carried_refusal(node)

    def _split_target(self, target: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._split_target(part)
        elif isinstance(target, ast.Starred):
            self._split_target(target.value)
        elif isinstance(target, ast.Subscript):
            self._split_target(target.value)
            self.extract(target.slice)
        elif isinstance(target, ast.Attribute):
            if target.attr not in INDEXERS:
                name = root_name(target) or ""
                raise refuse(Reason.ATTRIBUTE_WRITE, target, name)
            self._split_target(target.value)
        elif isinstance(target, ast.Name):
            if target.id not in self.split.shared:
                raise self.split.carried_refusal(self.node)
        else:
            self.extract(target)

    def extract(self, node: ast.expr, *, statement: bool = False) -> None:
        """Make `node` a hole if it touches nothing shared; else look into it."""
        if isinstance(node, ast.Constant):
            return
        if not self.split.shared_name_in(node):
            if self._is_constant(node):
                return
            if isinstance(node, ast.Slice):
                for part in (node.lower, node.upper, node.step):
                    if part is not None:
                        self.extract(part)
                return
            if isinstance(node, ast.Starred):
                self.extract(node.value)
                return
            self.holes.append(node)
            return
        self._check_cheap(node, statement=statement)
        if isinstance(node, ast.BoolOp):
            self.extract(node.values[0])
            for value in node.values[1:]:
                self.keep_whole(value)
        elif isinstance(node, ast.IfExp):
            self.extract(node.test)
            self.keep_whole(node.body)
            self.keep_whole(node.orelse)
        elif isinstance(node, ast.Compare) and len(node.ops) > 1:
            self.extract(node.left)
            self.extract(node.comparators[0])
            for value in node.comparators[1:]:
                self.keep_whole(value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if key is not None:
                    self.extract(key)
                self.extract(value)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                self.extract(node.func.value)
            for argument in node.args:
                self.extract(argument)
            for keyword in node.keywords:
                self.extract(keyword.value)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.extract(child)

    def _is_constant(self, node: ast.expr) -> bool:
        """Tell whether the kernel can look it up as well: outer names, and nothing called."""
        return all(
            isinstance(
                child, (ast.Constant, ast.Attribute, ast.expr_context, ast.UnaryOp, ast.USub)
            )
            or (isinstance(child, ast.Name) and child.id not in self.split.context.local)
            for child in walk(node)
        )

    def keep_whole(self, node: ast.AST) -> None:
        """Leave `node` whole in the kernel, where it may or may not be reached."""
        for child in walk(node):
            if isinstance(child, ast.expr):
                self._check_cheap(child, statement=isinstance(node, ast.Expr))
            if isinstance(child, ast.stmt) and not isinstance(child, _LIGHT):
                raise self.split.carried_refusal(self.node)
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Del):
                raise self.split.carried_refusal(self.node)
            if isinstance(child, ast.Attribute) and not isinstance(child.ctx, ast.Load):
                raise refuse(Reason.ATTRIBUTE_WRITE, child, root_name(child) or "")
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                self._add_input(child.id)

    def _add_input(self, name: str) -> None:
        own = name in self.split.context.local and name not in self.split.shared
        if own and name not in self.inputs:
            self.inputs.append(name)

    def _check_cheap(self, node: ast.expr, *, statement: bool = False) -> None:
        """Refuse what is not bookkeeping: the kernel's part must be light and known."""
        if isinstance(node, (ast.NamedExpr, *FUNCTIONS, *COMPREHENSIONS)) or not isinstance(
            node, _CHEAP_NODES
        ):
            raise self.split.carried_refusal(node if self.split.shared_name_in(node) else self.node)
        if not isinstance(node, ast.Call):
            return
        split = self.split
        if isinstance(node.func, ast.Name):
            value = split.context.live.get(node.func.id)
            builtin = value is UNKNOWN or getattr(value, "__module__", "") == "builtins"
            if node.func.id in split.context.local or not (
                node.func.id in type_facts.CHEAP_CALLS and builtin
            ):
                self._refuse_call(node)
            return
        if not isinstance(node.func, ast.Attribute):
            self._refuse_call(node)
        assert isinstance(node.func, ast.Attribute)
        value = split.context.value_of(node.func)
        if value is not UNKNOWN and not isinstance(value, type):
            module = (getattr(value, "__module__", None) or "").partition(".")[0]
            if f"{module}.{getattr(value, '__name__', '')}" in type_facts.FOLDS:
                return
            self._refuse_call(node)
        name = root_name(node.func.value)
        receiver = split.context.live.get(name) if name else UNKNOWN
        if name in split.shared and receiver is not UNKNOWN and name not in split.context.local:
            plain = isinstance(node.func.value, ast.Name)
            if plain:
                known = type_facts.changing_methods(receiver)
                light = type_facts.effect_methods(receiver) | type_facts.CHEAP_METHODS
                if known is not None and node.func.attr in light:
                    return
                if known is None and type_facts.is_atom(receiver):
                    return
                raise _changed(receiver, node, name)
            if node.func.attr in type_facts.CHEAP_METHODS:
                return
            raise refuse(Reason.MUTATES_CAPTURED, node, name)
        if node.func.attr not in type_facts.CHEAP_METHODS:
            if name in split.shared and split.shared[name] is Reason.MUTATES_CAPTURED:
                raise refuse(Reason.MUTATES_CAPTURED, node, name)
            self._refuse_call(node)

    def _refuse_call(self, node: ast.Call) -> None:
        raise self.split.carried_refusal(node if self.split.shared_name_in(node) else self.node)


def _changed(receiver: object, node: ast.Call, name: str) -> RefusalReason:
    """Return the refusal for a method that changes a captured object of this type."""
    if type_facts.is_file(receiver):
        return refuse(Reason.FILE_HANDLE, node, name)
    if type_facts.is_random(receiver):
        return refuse(Reason.RANDOM, node, detail=f"`{name}`")
    if type_facts.is_iterator(receiver):
        return refuse(Reason.ITERATOR, node, name)
    if type(receiver).__module__.partition(".")[0] == "matplotlib":
        return refuse(Reason.PLOT, node, name)
    return refuse(Reason.MUTATES_CAPTURED, node, name)
