"""Commit finished items in item order: merge what workers sent into the kernel's objects and names."""

from __future__ import annotations

import ast
import contextlib
import io
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from cloudbutton_backend.job_model.outcome import Output
from cloudbutton_backend.worker.atoms import is_atom
from cloudbutton_backend.worker.watch import Graph, Path, follow
from cloudbutton_magic.analysis import UNKNOWN, Loop, Parallel
from cloudbutton_magic.analysis.syntax import target_names, uses
from cloudbutton_magic.rewriting import worker_side
from cloudbutton_magic.rewriting.worker_side import check_operand, snapshot_operand


@dataclass(frozen=True)
class IterationRecord:
    """The answer of one item, in the kernel's own objects."""

    index: int
    ops: list[tuple[Any, ...]]
    binds: dict[str, Any]
    omitted: list[str]
    deleted: set[str]
    parts: list[tuple[Any, tuple[str, Any]]]


class Merger:
    """Merges results into the kernel's objects, and remembers the final values of names."""

    def __init__(
        self, items: list[Any], function: Any, local: tuple[str, ...], definite: frozenset[str]
    ) -> None:
        self.items, self.function = items, function
        self.local, self.definite = local, definite
        self._values: dict[str, Any] = {}
        self._deleted: set[str] = set()
        self._omitted: dict[str, int] = {}
        self._changed: set[int] = set()
        self._owners: dict[int, int] | None = None
        self._outer: Graph | None = None

    def record(self, index: int, kind: str, content: list[Any]) -> IterationRecord:
        """Return the record of item `index`; raises if it cannot be expressed here."""
        if kind == worker_side.DONE:
            ops, binds, omitted, deleted = content
            return IterationRecord(index, ops, binds, omitted, deleted, [])
        roots = {"outer": self.function, "inner": self.items[index]}

        def find(side: str, path: Path) -> Any:
            return follow(roots[side], path[1:])

        ops, binds, omitted, deleted, parts = worker_side.unpack(content[0], find)
        changed = [(find("inner", path), new) for path, new in parts]
        for value, _ in changed:
            self._check_not_shared(index, value)
        return IterationRecord(index, ops, binds, omitted, deleted, changed)

    def _check_not_shared(self, index: int, value: Any) -> None:
        """Make sure that only item `index` holds the object that it changed."""
        if self._outer is None or self._owners is None:
            self._outer = Graph({"": self.function})
            self._owners = {}
            for number, item in enumerate(self.items):
                for key in Graph({"": item}, watch=False).ids:
                    self._owners[key] = number if key not in self._owners else -1
        if not self._outer.complete or id(value) in self._outer.ids:
            raise worker_side.CannotRunHere(
                "the loop changed its item, which it also uses by another name"
            )
        if self._owners.get(id(value)) != index:
            raise worker_side.CannotRunHere(
                "the loop changed its item, which is part of another item too"
            )

    def merge(self, record: IterationRecord) -> None:
        """Put changes of the item in place and remember what the iteration bound."""
        for value, (kind, content) in record.parts:
            _copy_content(value, kind, content)
        if record.parts:
            # Running the body on it once more would change it once more.
            self._changed.add(record.index)
        for name in record.omitted:
            self._omitted[name] = record.index
        for name, bound in record.binds.items():
            self._values[name] = bound
            self._omitted.pop(name, None)
            self._deleted.discard(name)
        for name in record.deleted:
            self._deleted.add(name)
            self._values.pop(name, None)
            self._omitted.pop(name, None)

    def restore(
        self, namespace: dict[str, Any], loop: Loop, item: Any, *, complete: bool = False
    ) -> None:
        """Leave the names as the plain loop would have left them after `item`.

        Unless `complete`, names that every iteration binds are left to the iteration that
        follows here.
        """
        if loop.kind == "for":
            rebound = set(self.local)
            for name, value in bind(loop, item).items():
                if name not in rebound:
                    namespace[name] = value
        omitted = {n: i for n, i in self._omitted.items() if complete or n not in self.definite}
        for number in sorted(set(omitted.values()) - self._changed):
            self._values.update(
                self._values_by_running(number, {n for n in omitted if omitted[n] == number})
            )
        for name in self._deleted:
            namespace.pop(name, None)
        namespace.update(self._values)

    def _values_by_running(self, number: int, wanted: set[str]) -> dict[str, Any]:
        """Run the body of one item here for names whose values could not travel."""
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            found = self.function(
                self.items[number],
                lambda op: None,
                lambda name: None,
                lambda value, later: value,
                lambda *args: None,
            )
        return {name: found[name] for name in wanted if name in found}


def _copy_content(value: Any, kind: str, content: Any) -> None:
    """Give the kernel's own object the content that the worker's copy ended with."""
    if kind in ("list", "bytearray"):
        value[:] = content
    elif kind in ("dict", "set"):
        value.clear()
        value.update(content)
    elif kind == "array":
        value[...] = content
    elif kind == "random":
        _set_random_state(value, content)
    else:
        value.__dict__.clear()
        value.__dict__.update(content)


def _set_random_state(generator: Any, state: Any) -> None:
    if hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.setstate(state)


def bind(loop: Loop, item: Any) -> dict[str, Any]:
    """Return what binding the loop's target to `item` binds."""
    assignment = ast.Module(
        body=[ast.Assign(targets=[loop.target], value=ast.Name(id="__cb_item", ctx=ast.Load()))],
        type_ignores=[],
    )
    scope: dict[str, Any] = {"__cb_item": item}
    exec(compile(ast.fix_missing_locations(assignment), "<target>", "exec"), scope)
    return {name: scope[name] for name in target_names(loop.target) if name in scope}


def part_of(loop: Loop, item: Any, name: str) -> Any:
    """Return what the target `name` would be for `item`, where that is plain to see."""

    def find(target: ast.expr, value: Any) -> Any:
        if isinstance(target, ast.Name):
            return value if target.id == name else UNKNOWN
        if (
            isinstance(target, (ast.Tuple, ast.List))
            and isinstance(value, (tuple, list))
            and len(value) == len(target.elts)
        ):
            for part, inner in zip(target.elts, value):
                found = find(part, inner)
                if found is not UNKNOWN:
                    return found
        return UNKNOWN

    return find(loop.target, item)


def representative_part(loop: Loop, items: list[Any], name: str) -> Any:
    """Return a value that the target `name` will have: a set, if it is one for any item."""
    first = part_of(loop, items[0], name)
    if is_atom(first):
        return first
    for item in items[:10_000]:
        part = part_of(loop, item, name)
        if isinstance(part, (set, frozenset)):
            return part
    return first


Apply = Callable[[Iterator[tuple[Any, ...]]], None]


class _SiteReached(Exception):
    """The body has come to the statement at which the plain loop would have stopped."""


class Committer:
    """Puts the results of items in place and leaves the names as the plain loop would.

    When a statement of the kernel's part raises (``out[i] = v`` beyond the end), everything
    before it has been done just as in the plain loop; the names the iteration had bound by
    then are found by running the body here up to that statement.
    """

    def __init__(
        self,
        loop: Loop,
        verdict: Parallel,
        namespace: dict[str, Any],
        replay: Callable[[Output], None],
        merger: Merger,
        apply: Apply | None,
    ) -> None:
        self.loop, self.namespace, self.replay = loop, namespace, replay
        self.merger, self.apply = merger, apply
        self.finished = 0
        self._broken = False
        sites = verdict.sites
        self._prints = any("print" in uses(site.node).reads for site in sites)
        self._simple = {site.index for site in sites if site.kind in ("store", "consume")}

    def commit(self, record: IterationRecord, outputs: tuple[Output, ...]) -> bool:
        """Put one item's results in place; False if it must run here to fail as it should."""
        printed = io.StringIO()
        if self.apply is not None and record.ops:
            ops = iter(record.ops)
            try:
                # A print of the kernel's part comes after those of the worker's.
                if self._prints:
                    with contextlib.redirect_stdout(printed):
                        self.apply(ops)
                else:
                    self.apply(ops)
            except Exception:
                done = len(record.ops) - operator.length_hint(ops) - 1
                if done == 0 and record.ops[0][0] in self._simple:
                    return False
                self._stop_at_failure(record, done, printed.getvalue())
                raise
        for output in outputs:
            self.replay(output)
        if printed.getvalue():
            self.replay(Output("stdout", printed.getvalue()))
        self.merger.merge(record)
        self.finished += 1
        return True

    def close(self) -> None:
        """Leave the names as they are after the last item that was finished."""
        if self.finished and not self._broken:
            item = self.merger.items[self.finished - 1]
            self.merger.restore(self.namespace, self.loop, item)

    def _stop_at_failure(self, record: IterationRecord, done: int, printed: str) -> None:
        """Leave the names as they are where the kernel's part of `record` raised."""
        self._broken = True
        item = self.merger.items[record.index]
        if self.finished:
            before = self.merger.items[self.finished - 1]
            self.merger.restore(self.namespace, self.loop, before, complete=True)
        count = 0

        def op(operands: tuple[Any, ...]) -> None:
            nonlocal count
            if count == done:
                raise _SiteReached
            count += 1

        deleted: set[str] = set()
        shown = io.StringIO()
        found: dict[str, Any] = {}
        try:
            with contextlib.redirect_stdout(shown):
                self.merger.function(item, op, deleted.add, snapshot_operand, check_operand)
        except _SiteReached as reached:
            found = _locals_of(reached.__traceback__, self.merger.function.__code__)
        self.replay(Output("stdout", shown.getvalue() + printed))
        if self.loop.kind == "for":
            self.namespace.update(bind(self.loop, item))
        names = {name: found[name] for name in self.merger.local if name in found}
        for name in deleted - names.keys():
            self.namespace.pop(name, None)
        self.namespace.update(names)


def _locals_of(trace: TracebackType | None, code: Any) -> dict[str, Any]:
    """Return the local variables of the function with `code` where the exception passed."""
    while trace is not None:
        if trace.tb_frame.f_code is code:
            return dict(trace.tb_frame.f_locals)
        trace = trace.tb_next
    return {}
