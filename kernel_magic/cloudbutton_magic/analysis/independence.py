"""Decides whether the iterations of a loop are independent: `analyse` is the one entry."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from cloudbutton_backend.worker.watch import is_frame
from cloudbutton_magic.analysis import type_facts
from cloudbutton_magic.analysis.body_split import BodySplitter, own_slots, shared_objects
from cloudbutton_magic.analysis.call_rules import AnalysisContext, CallRules, SetsMatter
from cloudbutton_magic.analysis.data_flow import DefiniteAssignment
from cloudbutton_magic.analysis.iterables import check_iterable
from cloudbutton_magic.analysis.loops import Loop
from cloudbutton_magic.analysis.mutations import INDEXERS, Origins, find_mutations
from cloudbutton_magic.analysis.namespace import (
    UNKNOWN,
    LiveNames,
    Namespace,
    holds_drawn,
    lookup,
    reaches,
    root_name,
    shares_memory,
)
from cloudbutton_magic.analysis.set_order import check_sets, hash_seed_is_fixed
from cloudbutton_magic.analysis.syntax import FUNCTIONS, target_names, uses, walk
from cloudbutton_magic.analysis.user_functions import is_user_code
from cloudbutton_magic.analysis.verdict import (
    LoopSite,
    Parallel,
    Reason,
    RefusalReason,
    Verdict,
    refuse,
    stays_here,
)

_NOTHING: Final = Namespace({})


def analyse(
    loop: Loop,
    live: LiveNames = _NOTHING,
    *,
    iterable: object = UNKNOWN,
    sample: Callable[[str], object] = lambda name: UNKNOWN,
    fixed_hash_seed: bool | None = None,
    sets_inside: bool = False,
) -> Verdict:
    """Return the verdict on one loop.

    Parameters
    ----------
    loop
        From `find_loops`.
    live
        The namespace at the moment the loop is reached; without one, names are unknown and
        the verdict is about the text alone.
    iterable
        The value that the loop walks over, where it is known already.
    sample
        Gives a value that a loop target may have, or `UNKNOWN`.
    fixed_hash_seed
        Whether all processes order sets of strings alike; found out when None.
    sets_inside
        Whether captured containers or items hold sets, so that any part of them may be one.
    """
    if fixed_hash_seed is None:
        fixed_hash_seed = hash_seed_is_fixed()
    try:
        sets: SetsMatter = "" if fixed_hash_seed else "anywhere" if sets_inside else "named"
        return _LoopAnalysis(loop, live, iterable, sample, sets).verdict()
    except RefusalReason as refusal:
        return refusal.refused
    except BaseException as error:
        return stays_here(error, loop.line, uses(loop.node).reads, live)


class _LoopAnalysis:
    def __init__(
        self,
        loop: Loop,
        live: LiveNames,
        iterable: object,
        sample: Callable[[str], object],
        sets: SetsMatter,
    ) -> None:
        self.loop = loop
        self.live = live
        self.iterable = iterable
        self.found = uses(loop.body)
        self.targets = frozenset(target_names(loop.target))
        self.local = frozenset(self.found.binds) | frozenset(self.found.deletes) | self.targets
        rebound = frozenset(self.found.binds)
        self.context = AnalysisContext(
            live,
            self.local | _inner_names(loop.body),
            lambda name: sample(name) if name in self.targets - rebound else UNKNOWN,
            sets=sets,
        )

    def verdict(self) -> Parallel:
        loop = self.loop
        self._check_shape()
        self._check_drawn()
        self._check_statements()
        flow = DefiniteAssignment(loop.body, bound=self.targets, watched=set(self.local))
        origins = Origins(loop.body, self.local)
        shared = self._shared(flow, origins)
        self._check_aliases(shared)
        slots = own_slots(loop, self.context, shared.keys() - self.local, self.targets)
        splitter = BodySplitter(
            loop, self.context, shared, {n: slot for n, (slot, _) in slots.items()}
        )
        splitter.extend_shared()
        if clash := self.targets & set(splitter.shared):
            name = min(clash)
            raise refuse(Reason.CARRIED, self._line(name), name)
        check_iterable(
            loop, self.live, self.iterable, frozenset(splitter.shared), self._call_rules()
        )
        splitter.split_body()
        work = self._work(splitter)
        self._check_kernel_part(splitter, work)
        self._call_rules(frozenset(splitter.shared) | self.local).check(work)
        self._check_plots(work)
        if self.context.sets:
            check_sets(loop.body, self.context.value_of, anywhere=self.context.sets == "anywhere")
        self._check_deferred()
        return Parallel(
            line=loop.line,
            kind=loop.kind,
            reads=frozenset(n for n in self.found.reads if n not in self.local),
            targets=tuple(target_names(loop.target)),
            local=frozenset(self.local - set(splitter.shared)),
            definite=frozenset((flow.at_end | self.targets) - set(splitter.shared)),
            shared=frozenset(splitter.shared),
            sites=tuple(self._with_copies(splitter)),
            unique=tuple(sorted({used for _, used in slots.values()})),
            own_slots=frozenset(slots),
            deep=frozenset(self._changed_inside(shared)),
        )

    def _call_rules(self, written: frozenset[str] = frozenset()) -> CallRules:
        return CallRules(replace(self.context, written=written))

    def _line(self, name: str) -> int:
        for uses_of in (self.found.reads, self.found.binds):
            if name in uses_of:
                return uses_of[name]
        return self.loop.line

    # -- what cannot be cut at all ---------------------------------------------------

    def _check_shape(self) -> None:
        if not isinstance(self.loop.target, (ast.Name, ast.Tuple, ast.List)) or any(
            isinstance(n, (ast.Subscript, ast.Attribute)) for n in walk(self.loop.target)
        ):
            raise refuse(
                Reason.UNSUPPORTED,
                self.loop.target,
                detail="uses a loop target that is not a plain name or a tuple of names",
            )
        for name in self.found.declared:
            raise refuse(Reason.GLOBAL_WRITE, self.found.declared[name], name)

        if self.loop.consumer is not None:
            consumer = self.loop.consumer.func
            if isinstance(lookup(consumer, self.live, frozenset()), types.FunctionType):
                value = lookup(consumer, self.live, frozenset())
                if is_user_code(value):  # type: ignore[arg-type]
                    raise refuse(
                        Reason.UNSUPPORTED,
                        consumer,
                        detail=f"hands a generator to `{ast.unparse(consumer)}`, a function of "
                        "the notebook, which may stop in the middle or keep it",
                    )

    def _check_drawn(self) -> None:
        """Refuse what reaches a figure, or something on one, by a name of the body or by its items."""
        for name, line in self.found.reads.items():
            if holds_drawn(self.context.value_of(ast.Name(name, ast.Load()))):
                raise refuse(Reason.PLOT, line, name)
        for name in _walked_names(self.loop.iter):
            if holds_drawn(self.live.get(name)):
                raise refuse(Reason.PLOT, self.loop.line, name)
        if holds_drawn(self.iterable):
            raise refuse(Reason.PLOT, self.loop.line, ast.unparse(self.loop.iter))

    def _check_statements(self) -> None:
        for statement in self.loop.body:
            for node in walk(statement):
                if isinstance(node, ast.AnnAssign) and node.simple:
                    # It would be noted in the notebook's __annotations__ as well.
                    raise refuse(
                        Reason.UNSUPPORTED, node, detail="annotates a variable inside the loop"
                    )
        for node in _own_statements(self.loop.body):
            if isinstance(node, ast.Break):
                raise refuse(Reason.LEAVES_EARLY, node, "break")
            if isinstance(node, ast.Return):
                raise refuse(Reason.LEAVES_EARLY, node, "return")
        for statement in self.loop.body:
            for node in walk(statement):
                if isinstance(node, (ast.Yield, ast.YieldFrom)):
                    raise refuse(Reason.SUSPENDS, node, "yield")
                if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
                    raise refuse(Reason.SUSPENDS, node, "await")
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                    raise refuse(Reason.DEFINES, node, node.name)
                if isinstance(node, ast.Return):
                    raise refuse(Reason.LEAVES_EARLY, node, "return")

    def _check_deferred(self) -> None:
        """Refuse functions that would keep values of one iteration for later.

        ``fs.append(lambda: x)`` sees the last x in the plain loop and its own in a worker.
        A lambda handed to a call is used up there as a rule: ``sorted(rows, key=lambda …)``.
        """
        handed_over: set[int] = set()
        for statement in self.loop.body:
            for node in walk(statement):
                if isinstance(node, ast.Call):
                    if self._keeps_functions(node):
                        continue
                    for argument in (*node.args, *(k.value for k in node.keywords)):
                        handed_over.add(id(argument))
        for statement in self.loop.body:
            for node in walk(statement):
                if isinstance(node, ast.Lambda) and id(node) not in handed_over:
                    raise refuse(Reason.DEFINES, node, "lambda")

    def _keeps_functions(self, call: ast.Call) -> bool:
        name = (
            call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        )
        value = self.context.value_of(call.func)
        if name in ("append", "add", "partial", "defaultdict", "insert", "setdefault", "register"):
            return True
        return isinstance(value, type) and value not in (map, filter, sorted, list, dict)

    # -- what connects iterations ----------------------------------------------------

    def _shared(self, flow: DefiniteAssignment, origins: Origins) -> dict[str, Reason]:
        shared = dict.fromkeys(flow.unbound, Reason.CARRIED)
        for change, outer in shared_objects(self.loop, self.context, origins, self.targets):
            if change.name in self.local:
                if change.how == "augmented" and change.name in shared:
                    continue
                if outer <= set(shared) and change.name in shared:
                    continue
                name = min(outer)
                raise refuse(
                    Reason.ALIASED,
                    change.line,
                    change.name,
                    f"`{change.name}` may be (part of) `{name}`, which all iterations share",
                )
            self._check_change(change.name, change.how, change.node, change.method)
            shared.setdefault(change.name, Reason.READS_ACCUMULATOR)
        return shared

    def _check_change(self, name: str, how: str, node: ast.AST, method: str) -> None:
        value = self.live.get(name)
        if how == "attribute":
            raise refuse(Reason.ATTRIBUTE_WRITE, node, name)
        if isinstance(value, types.ModuleType):
            if how != "method":
                raise refuse(Reason.PROCESS_STATE, node, ast.unparse(node))
            assert isinstance(node, ast.Call)
            self._call_rules().check([node])
            raise refuse(Reason.PROCESS_STATE, node, ast.unparse(node.func))
        if value is UNKNOWN:
            if how == "method" and method not in type_facts.EFFECTS_ANY:
                raise refuse(Reason.MUTATES_CAPTURED, node, name)
            return
        if type_facts.is_file(value):
            raise refuse(Reason.FILE_HANDLE, node, name)
        if type_facts.is_random(value):
            raise refuse(Reason.RANDOM, node, detail=f"`{name}`")
        if type(value).__module__.partition(".")[0] == "matplotlib":
            raise refuse(Reason.PLOT, node, name)
        if how == "method" and isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Attribute)
            direct = isinstance(node.func.value, ast.Name)
            known = type_facts.changing_methods(value)
            if known is None or (
                direct
                and method not in type_facts.effect_methods(value)
                and method not in type_facts.CHEAP_METHODS
            ):
                raise refuse(Reason.MUTATES_CAPTURED, node, name)
        if how in ("item", "delete") and type_facts.changing_methods(value) is None:
            raise refuse(Reason.MUTATES_CAPTURED, node, name)

    def _changed_inside(self, shared: Iterable[str]) -> Iterable[str]:
        """Yield names like d in `d[k].append(v)`: what is changed is inside the object."""
        for statement in self.loop.body:
            for change in find_mutations(statement, self.context.value_of):
                place = change.node
                if isinstance(place, ast.Call) and isinstance(place.func, ast.Attribute):
                    place = place.func.value
                elif isinstance(place, (ast.Subscript, ast.Attribute)):
                    place = place.value
                    if isinstance(place, ast.Attribute) and place.attr in INDEXERS:
                        place = place.value
                if change.name in shared and not isinstance(place, (ast.Name, ast.AugAssign)):
                    yield change.name

    def _check_aliases(self, shared: dict[str, Reason]) -> None:
        """Treat two names of one object as one, and refuse what cannot be told apart."""
        filled = {n: self.live.get(n) for n in shared}
        for name, value in filled.items():
            if value is UNKNOWN or type_facts.is_atom(value):
                continue
            for other in self.found.reads:
                if other in shared or other in self.local:
                    continue
                reached = self.live.get(other)
                if reached is UNKNOWN:
                    continue
                if reached is value:
                    how = "is the same object"
                elif shares_memory(value, reached) or reaches(reached, value):
                    how = "shares its content"
                else:
                    continue
                raise refuse(Reason.ALIASED, self._line(other), name, f"`{other}` {how}")

    # -- the two parts ---------------------------------------------------------------

    def _work(self, splitter: BodySplitter) -> list[ast.AST]:
        """Return the code that runs in a worker: the body without the kernel's part."""
        sites = {id(site.node) for site in splitter.sites if site.kind != "yield"}
        work: list[ast.AST] = []

        def collect(body: Iterable[ast.stmt]) -> None:
            for statement in body:
                if id(statement) in sites:
                    continue
                if any(id(n) in sites for n in walk(statement)):
                    for name, value in ast.iter_fields(statement):
                        if name in ("body", "orelse", "finalbody"):
                            collect(value)
                        elif name in ("handlers", "cases"):
                            for part in value:
                                collect(part.body)
                        elif isinstance(value, ast.AST):
                            work.append(value)
                        elif name == "items":
                            work.extend(value)
                else:
                    work.append(statement)

        collect(self.loop.body)
        for site in splitter.sites:
            work.extend(site.holes if site.kind != "yield" else ())
        return work

    def _check_kernel_part(self, splitter: BodySplitter, work: list[ast.AST]) -> None:
        folds = [site for site in splitter.sites if site.kind == "fold"]
        if folds and not any(self._is_work(node) for node in work):
            first = folds[0]
            name = splitter.shared_name_in(first.node) or ""
            for read in uses(first.node).reads:
                if read in splitter.shared:
                    name = read
                    break
            line = uses(first.node).reads.get(name, first.line)
            raise refuse(splitter.shared.get(name, Reason.CARRIED), line, name)
        for site in folds:
            if any(isinstance(n, ast.Name) and n.id == "print" for n in walk(site.node)):
                later = [n for n in work if getattr(n, "lineno", 0) > site.line]
                if any(self._is_work(n) for n in later) or _inside_inner_loop(
                    self.loop.body, site.node
                ):
                    name = splitter.shared_name_in(site.node) or ""
                    raise refuse(Reason.ORDER_OF_OUTPUT, site.line, name)

    def _is_work(self, node: ast.AST) -> bool:
        for child in walk(node):
            if isinstance(child, ast.Call):
                name = getattr(child.func, "id", "") or getattr(child.func, "attr", "")
                if isinstance(child.func, ast.Attribute) or name not in type_facts.CHEAP_CALLS:
                    return True
            elif isinstance(child, (ast.For, ast.While, ast.ListComp, ast.GeneratorExp)):
                return True
        return False

    def _with_copies(self, splitter: BodySplitter) -> list[LoopSite]:
        """Mark the operands that the iteration changes after they were recorded."""
        changed = {
            c.name
            for statement in self.loop.body
            for c in find_mutations(statement, self.context.value_of)
            if c.name in self.local and c.name not in splitter.shared
        }
        sites = []
        for site in splitter.sites:
            names = {n.id for h in site.holes for n in walk(h) if isinstance(n, ast.Name)}
            risky = frozenset((names | set(site.inputs)) & changed)
            if site.kind == "fold" and risky:
                name = min(risky)
                if set(site.inputs) & risky:
                    raise refuse(
                        Reason.CARRIED, site.line, splitter.shared_name_in(site.node) or name
                    )
            sites.append(replace(site, copies=risky) if site.kind == "consume" else site)
        return sites

    def _check_plots(self, work: list[ast.AST]) -> None:
        """Allow pyplot where the iteration makes its own figure and gets rid of it."""
        calls = [
            node
            for top in work
            for node in walk(top)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and self._is_pyplot(node.func)
        ]
        if not calls:
            return
        calls.sort(key=lambda call: (call.lineno, call.col_offset))
        names = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute)]
        if names[0] not in ("figure", "subplots") or names[-1] not in ("close", "show"):
            raise refuse(Reason.PLOT, calls[0], ast.unparse(calls[0].func))

    def _is_pyplot(self, function: ast.Attribute) -> bool:
        """Tell whether a function is pyplot's, or one of a data frame that calls it."""
        module = lookup(function.value, self.live, self.context.local)
        if getattr(module, "__name__", "") == "matplotlib.pyplot":
            return True
        is_plot = function.attr in ("boxplot", "hist", "plot") or (
            isinstance(function.value, ast.Attribute) and function.value.attr == "plot"
        )
        return is_plot and is_frame(self.live.get(root_name(function) or ""))


def _walked_names(iterable: ast.expr) -> Iterable[str]:
    """Yield the names that an iterable takes its items from: not those that are only counted."""
    if isinstance(iterable, ast.Name):
        yield iterable.id
    elif not (isinstance(iterable, ast.Call) and getattr(iterable.func, "id", "") in _COUNTING):
        for part in ast.iter_child_nodes(iterable):
            if isinstance(part, ast.expr):
                yield from _walked_names(part)


_COUNTING: Final = ("len", "range")


def _own_statements(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield the statements of this loop: those of an inner loop may break out of it."""
    for statement in body:
        yield statement
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            continue
        if isinstance(statement, (ast.For, ast.While)):
            yield from _own_statements(statement.orelse)
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from _own_statements(getattr(statement, name, ()))
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _own_statements(part.body)


def _inner_names(body: Iterable[ast.stmt]) -> frozenset[str]:
    """Return names bound by comprehensions and lambdas in the body: not to be looked up."""
    names: set[str] = set()
    for statement in body:
        for node in walk(statement):
            if isinstance(node, ast.comprehension):
                names.update(target_names(node.target))
            elif isinstance(node, ast.arg):
                names.add(node.arg)
    return frozenset(names)


def _inside_inner_loop(body: Iterable[ast.stmt], node: ast.AST) -> bool:
    return any(
        isinstance(child, (ast.For, ast.While)) and any(n is node for n in walk(child))
        for statement in body
        for child in walk(statement)
    )
