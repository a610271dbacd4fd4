"""Judges every call an iteration makes: may another process make it, in any order?

Calls into the user's own functions are followed into their source. What cannot be seen is
left to the guard that watches the shared objects in the worker, except where an object of
unknown type is asked to do something whose name does not say that it only looks.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from cloudbutton_backend.worker.watch import is_watchable
from cloudbutton_magic.analysis import type_facts
from cloudbutton_magic.analysis.mutations import Origins, find_mutations
from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames, Namespace, lookup, root_name
from cloudbutton_magic.analysis.set_order import check_sets
from cloudbutton_magic.analysis.syntax import uses, walk
from cloudbutton_magic.analysis.user_functions import (
    global_reads,
    is_unbound,
    is_user_code,
    kept_defaults,
    local_names,
    outer_declared,
    source_tree,
    stores_global,
    user_methods,
)
from cloudbutton_magic.analysis.verdict import Reason, RefusalReason, refuse

SetsMatter = Literal["", "named", "anywhere"]
_DEPTH: Final = 12
_CERTAIN: Final = (
    type_facts.CHANGING["list"] | type_facts.CHANGING["set"] | type_facts.CHANGING["dict"] | {"at"}
)


@dataclass(frozen=True)
class AnalysisContext:
    """The context of a verdict, beside the code."""

    live: LiveNames
    local: frozenset[str]
    """Names bound by the iteration: not to be looked up outside."""
    sample: Callable[[str], object] = lambda name: UNKNOWN
    """A value a loop target may have."""
    written: frozenset[str] = frozenset()
    """Global names that the loop binds or whose objects it changes."""
    sets: SetsMatter = "named"
    """Which sets to look for: none, those that a name shows, or parts of other objects too."""

    def value_of(self, node: ast.expr) -> object:
        """Return the live value of an expression, or `UNKNOWN`."""
        if isinstance(node, ast.Name) and node.id in self.local:
            return self.sample(node.id)
        return lookup(node, self.live, self.local)


@dataclass
class CallRules:
    """Walks code and raises a refusal at the first call that iterations cannot make alone."""

    context: AnalysisContext
    _seen: set[types.CodeType] = field(default_factory=set)
    _depth: int = 0

    def check(self, nodes: Iterable[ast.AST]) -> None:
        """Check all calls and attribute uses in `nodes`."""
        for top in nodes:
            for node in walk(top):
                if isinstance(node, ast.Call):
                    self._check_call(node)
                elif isinstance(node, ast.Compare):
                    self._check_identity(node)
                elif isinstance(node, ast.Attribute):
                    self._check_attribute(node)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    self._check_name(node)
                elif isinstance(node, (ast.Import, ast.ImportFrom)):
                    self._check_import(node)

    def check_method(self, node: ast.expr, owner: object, method: str) -> None:
        """Check a call of a method of what `node` stands for, made without naming it, as `for` does."""
        call = ast.copy_location(ast.Call(node, [], []), node)
        self._check_bound_method(call, owner, method, type(owner).__name__)

    # -- single nodes ----------------------------------------------------------------

    def _check_name(self, node: ast.Name) -> None:
        if node.id in self.context.local:
            return
        if node.id in ("In", "Out", "_", "__", "___", "_ih", "_oh"):
            raise refuse(Reason.INTERACTIVE, node, node.id)
        value = self.context.live.get(node.id)
        if value is UNKNOWN:
            return
        if type_facts.is_file(value):
            raise refuse(Reason.FILE_HANDLE, node, node.id)
        if type_facts.is_random(value) and not isinstance(value, types.BuiltinFunctionType):
            raise refuse(Reason.RANDOM, node, detail=f"`{node.id}`")
        if type_facts.is_iterator(value) and not isinstance(value, type):
            raise refuse(Reason.ITERATOR, node, node.id)

    def _check_attribute(self, node: ast.Attribute) -> None:
        owner = self.context.value_of(node.value)
        if isinstance(owner, types.ModuleType):
            if owner.__name__ == "sys" and node.attr in ("stdin", "path"):
                raise refuse(Reason.PROCESS_STATE, node, f"sys.{node.attr}")
            if owner.__name__.partition(".")[0] in type_facts.FORBIDDEN_MODULES:
                raise refuse(Reason.PROCESS_STATE, node, ast.unparse(node))

    def _check_import(self, node: ast.Import | ast.ImportFrom) -> None:
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        for module in modules:
            top = (module or "").partition(".")[0]
            if top in type_facts.FORBIDDEN_MODULES:
                raise refuse(Reason.PROCESS_STATE, node, top)
            if module == "random":
                raise refuse(Reason.RANDOM, node, detail="`random`")
        if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names):
            raise refuse(Reason.NAMESPACE, node, "import *")

    def _check_identity(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, operands, operands[1:]):
            if isinstance(op, (ast.Is, ast.IsNot)) and not (
                self._is_single(left) or self._is_single(right)
            ):
                raise refuse(Reason.IDENTITY, node, detail=f"`{ast.unparse(node)}`")

    def _is_single(self, node: ast.expr) -> bool:
        """Tell whether there is one such object in every process."""
        if isinstance(node, ast.Constant):
            return node.value is None or node.value is ... or isinstance(node.value, bool)
        value = self.context.value_of(node)
        return (
            value is None
            or isinstance(value, (type, types.ModuleType))
            or (value is not UNKNOWN and "Enum" in type_facts.type_names(value))
            or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "type")
        )

    def _check_call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            if node.func.id in self.context.local:
                return
            value = self.context.live.get(node.func.id)
            if value is UNKNOWN:
                if node.func.id in type_facts.FORBIDDEN_BUILTINS:
                    self._check_builtin(node, node.func.id)
                return
            self._check_callee(node, value, node.func.id)
        elif isinstance(node.func, ast.Attribute):
            value = self.context.value_of(node.func)
            if value is not UNKNOWN:
                self._check_callee(node, value, ast.unparse(node.func))
            else:
                self._check_method(node, node.func)
        for argument in (*node.args, *(k.value for k in node.keywords)):
            # A function handed over is called, sooner or later.
            value = self.context.value_of(argument)
            if isinstance(value, types.FunctionType):
                self._check_callee(node, value, ast.unparse(argument))

    def _check_builtin(self, node: ast.Call, name: str) -> None:
        if name == "open" or name.endswith(".open"):
            mode = node.args[1] if len(node.args) > 1 else None
            for keyword in node.keywords:
                mode = keyword.value if keyword.arg == "mode" else mode
            if isinstance(mode, ast.Constant) and "a" in str(mode.value):
                raise refuse(Reason.FILE_HANDLE, node, ast.unparse(node))
        elif name in ("next", "setattr", "delattr") and node.args:
            name_of = root_name(node.args[0])
            if name_of is not None and name_of not in self.context.local:
                reason = Reason.ITERATOR if name == "next" else Reason.ATTRIBUTE_WRITE
                raise refuse(reason, node, name_of)
        elif name in ("vars", "dir") and node.args:
            return
        elif name in type_facts.FORBIDDEN_BUILTINS:
            reason = Reason[type_facts.FORBIDDEN_BUILTINS[name]]
            raise refuse(reason, node, name, f"`{ast.unparse(node)}`")

    # -- what is called --------------------------------------------------------------

    def _check_callee(self, node: ast.Call, value: object, name: str) -> None:
        """Judge a call of the known object `value`, which the code names `name`."""
        if isinstance(value, functools.partial):
            self._check_callee(node, value.func, name)
            return
        if isinstance(value, functools._lru_cache_wrapper):
            value = value.__wrapped__
        if type_facts.is_random(value):
            raise refuse(Reason.RANDOM, node, detail=f"`{name}`")
        module, short = getattr(value, "__module__", None) or "", getattr(value, "__name__", "")
        top = module.partition(".")[0]
        if (top, short) in type_facts.FORBIDDEN_PLACES or (
            top in ("posix", "nt") and ("os", short) in type_facts.FORBIDDEN_PLACES
        ):
            raise refuse(Reason.PROCESS_STATE, node, name)
        if top in type_facts.FORBIDDEN_MODULES:
            raise refuse(Reason.PROCESS_STATE, node, name)
        if top in ("IPython", "ipywidgets") and short not in ("display",):
            raise refuse(Reason.INTERACTIVE, node, name)
        if (
            module == "builtins" and isinstance(value, types.BuiltinFunctionType)
        ) or module == "io":
            owner = getattr(value, "__self__", None)
            if owner is None or isinstance(owner, types.ModuleType):
                self._check_builtin(node, short or name)
            return
        if isinstance(value, types.FunctionType):
            if is_user_code(value):
                self._check_user_function(node, value, name)
            elif hasattr(value, "__wrapped__") and isinstance(
                value.__wrapped__, types.FunctionType
            ):
                self._check_callee(node, value.__wrapped__, name)
        elif isinstance(value, types.MethodType):
            if isinstance(value.__self__, type):
                self._check_class(node, value.__self__, name)
            else:
                self._check_bound_method(node, value.__self__, value.__name__, name)
        elif isinstance(value, types.BuiltinFunctionType):
            owner = getattr(value, "__self__", None)
            if owner is not None and not isinstance(owner, (types.ModuleType, type)):
                self._check_bound_method(node, owner, short, name)
        elif isinstance(value, type):
            self._check_class(node, value, name)
        elif callable(value):
            self._check_bound_method(node, value, "__call__", name)

    def _check_method(self, node: ast.Call, func: ast.Attribute) -> None:
        """Judge `x.y.method(…)` where only (part of) x is known."""
        method = func.attr
        has_seed = any(k.arg in ("random_state", "seed", "rng") for k in node.keywords)
        if method in ("rvs", "sample") and not has_seed:
            raise refuse(Reason.RANDOM, node, detail=f"`{ast.unparse(func)}`")
        name = root_name(func.value)
        if name is None:
            return
        if name in self.context.local:
            value = self.context.value_of(func.value)
            if value is not UNKNOWN and type_facts.is_file(value):
                raise refuse(Reason.FILE_HANDLE, node, name)
            if type(value).__module__ not in ("builtins", "__main__") or value is UNKNOWN:
                return
            self._check_instance_method(node, value, method, name)
            return
        base = self.context.live.get(name)
        if base is UNKNOWN or isinstance(base, types.ModuleType):
            return
        if isinstance(func.value, ast.Name):
            self._check_bound_method(node, base, method, name)
        elif not type_facts.is_atom(base) and self._may_change(base, method):
            # settings.history.append(x): the part is unknown, the whole is shared.
            raise refuse(Reason.MUTATES_CAPTURED, node, ast.unparse(func.value))

    def _may_change(self, base: object, method: str) -> bool:
        return method in type_facts.CHANGING_ANY and method not in ("eval", "train", "update_")

    def _check_instance_method(self, node: ast.Call, value: object, method: str, name: str) -> None:
        function = user_methods(type(value)).get(method)
        if function is not None:
            self._check_user_function(node, function, f"{name}.{method}")

    def _check_bound_method(self, node: ast.Call, owner: object, method: str, name: str) -> None:
        """Judge the call of a method of a captured object."""
        if isinstance(owner, (types.ModuleType, type)) or type_facts.is_atom(owner):
            return
        if type_facts.is_random(owner):
            raise refuse(Reason.RANDOM, node, detail=f"`{name}`")
        if type_facts.is_file(owner):
            raise refuse(Reason.FILE_HANDLE, node, name)
        if type_facts.is_iterator(owner):
            raise refuse(Reason.ITERATOR, node, name)
        kind = type(owner)
        top = kind.__module__.partition(".")[0]
        if top == "matplotlib":
            raise refuse(Reason.PLOT, node, name)
        known = type_facts.changing_methods(owner)
        function = user_methods(kind).get(method) if is_user_code(kind) else None
        if known is not None and function is None:  # of a class that extends a known one
            if method in known:
                raise refuse(Reason.MUTATES_CAPTURED, node, name)
            return
        if function is not None:
            tree = source_tree(function)
            if tree is None:
                detail = "has no source to look into"
                raise refuse(Reason.HIDDEN_WRITE, node, f"{name}.{method}", detail)
            if _changes_self(tree):
                raise refuse(Reason.HIDDEN_WRITE, node, f"{name}.{method}", f"changes `{name}`")
            self._check_user_function(node, function, f"{name}.{method}")
            return
        if is_user_code(kind):
            raise refuse(Reason.UNKNOWN_EFFECT, node, f"{name}.{method}")
        if method == "__call__" or method in type_facts.READING_ANY:
            return
        if method in type_facts.CHANGING_ANY - type_facts.AMBIGUOUS:
            raise refuse(Reason.MUTATES_CAPTURED, node, name)
        if top in ("pandas", "numpy", "scipy", "re", "datetime", "pathlib", "logging", "string"):
            return
        if is_watchable(owner):
            return  # the guard sees what the method's name does not say
        raise refuse(Reason.UNKNOWN_EFFECT, node, f"{name}.{method}")

    def _check_class(self, node: ast.Call, kind: type, name: str) -> None:
        if not is_user_code(kind):
            return
        for function in user_methods(kind).values():
            self._check_user_function(node, function, name)

    # -- the user's own functions ----------------------------------------------------

    def _check_user_function(self, node: ast.Call, function: types.FunctionType, name: str) -> None:
        """Check a function of the user's for state that it keeps."""
        code = function.__code__
        if code in self._seen or self._depth > _DEPTH:
            return
        self._seen.add(code)
        tree = source_tree(function)
        if tree is None:
            self._check_without_source(node, function, name)
            return
        cells = zip(code.co_freevars, function.__closure__ or ())
        closure = {name: cell.cell_contents for name, cell in cells if not is_unbound(cell)}
        live = Namespace(closure, function.__globals__)
        local = local_names(tree)
        inner = CallRules(
            AnalysisContext(live, local, written=self.context.written, sets=self.context.sets),
            self._seen,
            self._depth + 1,
        )
        body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
        self._check_hidden_state(node, function, tree, name, live, local)
        if self._depth == 0:
            self._check_arguments(node, tree, name)
        try:
            inner.check(body)
            if self.context.sets:
                anywhere = self.context.sets == "anywhere"
                check_sets(body, inner.context.value_of, anywhere=anywhere)
        except RefusalReason as refusal:
            raise _at_call_site(node, name, refusal) from None

    def _check_hidden_state(
        self,
        node: ast.Call,
        function: types.FunctionType,
        tree: ast.FunctionDef | ast.Lambda,
        name: str,
        live: LiveNames,
        local: frozenset[str],
    ) -> None:
        body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
        found = uses(body)
        for declared in found.declared:
            if declared in outer_declared(tree):
                raise refuse(Reason.HIDDEN_WRITE, node, name, f"writes `{declared}`, kept outside")
        value_of = AnalysisContext(live, local).value_of
        for top in body:
            for change in find_mutations(top, value_of):
                if change.how == "augmented" or change.name in local - kept_defaults(tree):
                    continue
                value = live.get(change.name)
                if isinstance(value, types.ModuleType) and change.how == "method":
                    continue
                raise refuse(
                    Reason.HIDDEN_WRITE, node, name, f"changes `{change.name}`, kept between calls"
                )
        in_cell_scope = function.__globals__
        for read in found.reads:
            if read in self.context.written and read not in local and read in in_cell_scope:
                raise refuse(
                    Reason.HIDDEN_READ, node, name, f"reads `{read}`, which the loop writes"
                )

    def _check_arguments(
        self, node: ast.Call, tree: ast.FunctionDef | ast.Lambda, name: str
    ) -> None:
        """Refuse ``mark(grid, i)`` where mark changes its first argument and grid is shared."""
        parameters = [a.arg for a in (*tree.args.posonlyargs, *tree.args.args)]
        given = dict(zip(parameters, node.args))
        given |= {k.arg: k.value for k in node.keywords if k.arg}
        local = local_names(tree)
        origins = Origins(tree.body if isinstance(tree.body, list) else [], local)
        for top in tree.body if isinstance(tree.body, list) else [tree.body]:
            for change in find_mutations(top, lambda _: UNKNOWN):
                if change.method and change.method not in _CERTAIN:
                    continue
                for parameter in origins.of(change.name) & given.keys():
                    shared = root_name(given[parameter])
                    if shared is None or shared in self.context.local:
                        continue
                    value = self.context.live.get(shared)
                    if (
                        value is not UNKNOWN
                        and not type_facts.is_atom(value)
                        and not (change.how == "augmented" and not hasattr(value, "__iadd__"))
                    ):
                        raise refuse(
                            Reason.HIDDEN_WRITE, node, name, f"changes its argument `{shared}`"
                        )

    def _check_without_source(
        self, node: ast.Call, function: types.FunctionType, name: str
    ) -> None:
        """Judge a function without source by the names in its code."""
        names = set(global_reads(function.__code__))
        if names & self.context.written or stores_global(function.__code__):
            raise refuse(Reason.HIDDEN_READ, node, name, "has no source to look into")


def _changes_self(tree: ast.FunctionDef | ast.Lambda) -> bool:
    """Tell whether a method changes the object that it is called on."""
    if not tree.args.args:
        return True
    own = tree.args.args[0].arg
    return any(
        change.name == own and change.how != "augmented"
        for change in find_mutations(tree, lambda node: UNKNOWN)
    )


def _at_call_site(node: ast.Call, name: str, refusal: RefusalReason) -> RefusalReason:
    """Return a refusal met inside a function as one about the line that calls it."""
    inner = refusal.refused
    if inner.reason in (Reason.HIDDEN_WRITE, Reason.HIDDEN_READ):
        return refuse(inner.reason, node, name, inner.detail)
    if inner.reason in (Reason.RANDOM, Reason.SET_ORDER, Reason.IDENTITY):
        return refuse(inner.reason, node, inner.name, f"{inner.detail} in `{name}`")
    return refuse(
        inner.reason, node, f"{inner.name or inner.detail}` (in `{name}`)".rstrip("`)") + ")"
    )
