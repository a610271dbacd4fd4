"""Judges what a loop walks over: walking it ahead of the body must change nothing."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Collection
from typing import Final

from cloudbutton_magic.analysis import type_facts
from cloudbutton_magic.analysis.call_rules import CallRules
from cloudbutton_magic.analysis.loops import Loop, inner_loops
from cloudbutton_magic.analysis.namespace import (
    UNKNOWN,
    LiveNames,
    Namespace,
    lookup,
    reaches,
    root_name,
)
from cloudbutton_magic.analysis.syntax import COMPREHENSIONS, uses, walk
from cloudbutton_magic.analysis.type_facts import words
from cloudbutton_magic.analysis.user_functions import (
    is_user_code,
    is_user_file,
    source_tree,
    user_methods,
)
from cloudbutton_magic.analysis.verdict import Reason, RefusalReason, refuse

_PASS_THROUGH: Final = words(
    "enumerate zip reversed tqdm track items keys values iterrows itertuples"
)

_GIVE_PLAIN_VALUES: Final = words("abs bool divmod float int len max min ord pow round str sum")
"""Builtins that give a number or the like, as arguments of what is walked."""

_WITH_OUTPUT: Final = words(
    "print display open write write_text write_bytes writelines info warning error debug show savefig "
    "remove unlink mkdir rename sleep input urlopen request post put"
)
"""Names whose effect outside would come too early if they were called ahead of the loop."""


def walked_names(node: ast.expr) -> set[str]:
    """Return the names whose objects themselves are walked: d in `enumerate(d.items())`.

    `list(d)` walks d before the loop starts and is not among them.
    """
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        name = root_name(node)
        return {name} if name else set()
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        if name in _PASS_THROUGH:
            found: set[str] = set()
            for argument in node.args:
                found |= walked_names(argument)
            if isinstance(node.func, ast.Attribute) and not node.args:
                found |= walked_names(node.func.value)
            return found
    return set()


def check_iterable(
    loop: Loop, live: LiveNames, value: object, shared: frozenset[str], call_rules: CallRules
) -> None:
    """Refuse iterables that the body changes, and iterators that other code may share."""
    walked = walked_names(loop.iter)
    changed = walked & shared
    if changed:
        name = min(changed)
        raise refuse(Reason.ITERABLE_CHANGES, loop.iter, name, ast.unparse(loop.iter))
    objects = {id(live.get(n)) for n in shared if live.get(n) is not UNKNOWN}
    if (
        value is not UNKNOWN
        and not type_facts.is_atom(value)
        and (id(value) in objects or any(id(live.get(n)) in objects for n in walked))
    ):
        text = ast.unparse(loop.iter)
        raise refuse(Reason.ITERABLE_CHANGES, loop.iter, text, text)
    if value is UNKNOWN and _is_known_when_reached(loop, live):
        return
    if value is not UNKNOWN and (
        _is_collection(value, loop.iter, call_rules) or _is_new_generator(value, loop.iter)
    ):
        if not _is_container(value):
            _check_unshared(loop.iter, value, live, shared)
        return
    _check_expression(loop.iter, loop, live, call_rules)


def _check_unshared(node: ast.expr, value: object, live: LiveNames, shared: frozenset[str]) -> None:
    """Refuse an object, or a generator, that gives items of an object that the body changes."""
    sources = [value, *(live.get(name) for name in uses([node]).reads)]
    for name in sorted(shared):
        changed = live.get(name)
        if any(changed is source or reaches(source, changed) for source in sources):
            raise refuse(Reason.ITERABLE_CHANGES, node, name, ast.unparse(node))


def _is_known_when_reached(loop: Loop, live: LiveNames) -> bool:
    """Tell whether the object that a call gives is to be awaited: it may be a plain list.

    A loop with loops inside is judged by its text, so that those are looked at, but for methods whose
    names say that they only look.
    """
    if not isinstance(loop.iter, ast.Call):
        return False
    callee = loop.iter.func
    is_simple = not inner_loops(loop)
    if isinstance(callee, ast.Attribute):
        owner = live.get(root_name(callee.value) or "")
        if owner is UNKNOWN or type_facts.is_iterator(owner):
            return False
        if not isinstance(owner, types.ModuleType):
            return is_simple or (
                callee.attr in type_facts.READING_ANY and not is_user_code(type(owner))
            )
    function = lookup(callee, live, frozenset())
    if not is_simple or any(type_facts.is_iterator(live.get(n)) for n in uses([loop.iter]).reads):
        return False
    if isinstance(function, type):
        return not hasattr(function, "__next__")
    return isinstance(function, types.FunctionType) and not is_user_code(function)


def _is_collection(value: object, node: ast.expr, call_rules: CallRules) -> bool:
    """Tell whether an object can be walked again and again, with the same items, and nothing else happens.

    Objects that lend out their memory are not taken for one by their methods: an item of theirs may be a
    part of it.

    Raises
    ------
    RefusalReason
        Walking an object of the user's own class does more.
    """
    kind = type(value)
    if type_facts.is_iterator(value):
        return False
    if is_user_code(kind):
        own = user_methods(kind)
        walking = [own[name] for name in ("__iter__", "__getitem__", "__len__") if name in own][:1]
        for function in walking:
            call_rules.check_method(node, value, function.__name__)
            _check_no_output_of(function, node)
        if walking:
            return True
    return _is_container(value) or (
        issubclass(kind, Collection)
        and not any(hasattr(kind, name) for name in ("__array__", "__dlpack__", "__buffer__"))
    )


def _is_new_generator(value: object, node: ast.expr) -> bool:
    """Tell whether `value` is a generator that a call of a library's function has made for this loop."""
    return (
        isinstance(value, types.GeneratorType)
        and isinstance(node, ast.Call)
        and not is_user_file(value.gi_code.co_filename)
    )


def _check_expression(node: ast.expr, loop: Loop, live: LiveNames, call_rules: CallRules) -> None:
    """Refuse an expression that gives an iterator with a life of its own."""
    if isinstance(node, (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BinOp)):
        return
    if isinstance(node, COMPREHENSIONS):
        if isinstance(node, ast.GeneratorExp):
            _check_generator(node, loop, live, call_rules)
        return
    if isinstance(node, ast.Starred):
        _check_expression(node.value, loop, live, call_rules)
        return
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        value = lookup(node, live, frozenset())
        if value is UNKNOWN or type_facts.is_atom(value) or _is_collection(value, node, call_rules):
            return  # a number is an argument, as in `range(n)`: it is not what is walked
        if not type_facts.is_iterator(value):
            kind = type(value).__name__
            raise refuse(
                Reason.WALK,
                node,
                detail=f"an object of type {kind}, which may do more than give its items",
            )
        if loop.in_with and (type_facts.is_file(value) or type(value).__module__ == "_csv"):
            return  # the `with` around the loop closes it, so how far it was read does not show
        raise refuse(Reason.ITERABLE, node, detail=f"the iterator `{ast.unparse(node)}`")
    if isinstance(node, ast.Call):
        _check_call(node, loop, live, call_rules)


def _check_call(node: ast.Call, loop: Loop, live: LiveNames, call_rules: CallRules) -> None:
    name = str(getattr(node.func, "attr", None) or getattr(node.func, "id", ""))
    value = lookup(node.func, live, frozenset())
    if isinstance(value, types.FunctionType) and is_user_code(value):
        # Seen already if the value is a list; here it is a generator, or not yet known.
        try:
            call_rules.check([node])
        except RefusalReason:
            detail = f"the generator `{name}`, which keeps state"
            raise refuse(Reason.WALK, node, detail=detail) from None
        _check_no_output([node], live, node)
        return
    if name in ("map", "filter") and node.args:
        call_rules.check([node])
        _check_no_output([node.args[0]], live, node)
        for argument in node.args[1:]:
            _check_expression(argument, loop, live, call_rules)
        return
    if isinstance(node.func, ast.Attribute):
        owner = live.get(root_name(node.func.value) or "")
        if owner is not UNKNOWN and not isinstance(owner, types.ModuleType):
            if type_facts.is_iterator(owner) and not loop.in_with:
                raise refuse(Reason.ITERABLE, node, detail=f"the iterator `{ast.unparse(node)}`")
            if type_facts.is_random(owner):
                return  # drawn before the loop starts, in the order of the plain cell
    if name in _GIVE_PLAIN_VALUES and value is getattr(builtins, name):
        return  # the header is evaluated once, in its place: `range(max(xs))`
    if name in type_facts.WRAPPERS:
        for argument in node.args:
            _check_expression(argument, loop, live, call_rules)
        return
    module = (getattr(value, "__module__", None) or "").partition(".")[0]
    if module in ("itertools", "numpy", "pandas", "sklearn", "tqdm", "pathlib", "os", "glob", "re"):
        for argument in node.args:
            _check_expression(argument, loop, live, call_rules)
        return
    if value is not UNKNOWN or live.get(root_name(node.func) or "") is not UNKNOWN:
        detail = f"what `{ast.unparse(node.func)}` gives, which may depend on what the loop does"
        raise refuse(Reason.WALK, node, detail=detail)


def _is_container(value: object) -> bool:
    return any(name in type_facts.CONTAINERS for name in type_facts.type_names(value))


def _check_no_output(nodes: list[ast.AST], live: LiveNames, at: ast.AST, depth: int = 5) -> None:
    """Refuse code that may print or write: walked ahead, it would do so too early."""
    for top in nodes:
        for node in walk(top):
            if not isinstance(node, (ast.Name, ast.Attribute)):
                continue
            value = lookup(node, live, frozenset())
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _WITH_OUTPUT:
                detail = f"what uses `{name}`, which would happen before the loop's own work"
                raise refuse(Reason.WALK, at, detail=detail)
            if isinstance(value, types.FunctionType) and is_user_code(value):
                _check_no_output_of(value, at, depth)


def _check_no_output_of(function: types.FunctionType, at: ast.AST, depth: int = 5) -> None:
    """Refuse a function of the user's that may print or write, or call one that does."""
    tree = source_tree(function)
    if tree is None or not depth:
        detail = f"what calls `{function.__name__}`, whose effects cannot be seen"
        raise refuse(Reason.WALK, at, detail=detail)
    body = tree.body if isinstance(tree.body, list) else [tree.body]
    _check_no_output(list(body), Namespace(function.__globals__), at, depth - 1)


def _check_generator(
    node: ast.GeneratorExp, loop: Loop, live: LiveNames, call_rules: CallRules
) -> None:
    """Allow a generator expression whose element has no effect and prints nothing."""
    call_rules.check([node])
    _check_no_output([node.elt, *(test for g in node.generators for test in g.ifs)], live, node)
    for generator in node.generators:
        _check_expression(generator.iter, loop, live, call_rules)
