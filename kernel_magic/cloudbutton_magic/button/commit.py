"""Executes the kernel's part of finished items, one by one, in item order."""

from __future__ import annotations

import contextlib
import io
import operator
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from cloudbutton_backend.job_model.outcome import Output
from cloudbutton_magic.analysis import Loop, Parallel
from cloudbutton_magic.analysis.scopes import uses
from cloudbutton_magic.button.merge import IterationRecord, Merger, bind
from cloudbutton_magic.rewriting import worker_side

Apply = Callable[[Iterator[tuple[Any, ...]]], None]


class _Reached(Exception):
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

    def settle(self, record: IterationRecord, outputs: tuple[Output, ...]) -> bool:
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
                self._break_off(record, done, printed.getvalue())
                raise
        for output in outputs:
            self.replay(output)
        if printed.getvalue():
            self.replay(Output("stdout", printed.getvalue()))
        self.merger.take(record)
        self.finished += 1
        return True

    def close(self) -> None:
        """Leave the names as they are after the last item that was finished."""
        if self.finished and not self._broken:
            item = self.merger.items[self.finished - 1]
            self.merger.restore(self.namespace, self.loop, item)

    def _break_off(self, record: IterationRecord, done: int, printed: str) -> None:
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
                raise _Reached
            count += 1

        gone: set[str] = set()
        shown = io.StringIO()
        found: dict[str, Any] = {}
        try:
            with contextlib.redirect_stdout(shown):
                self.merger.function(item, op, gone.add, worker_side._keep, worker_side._check)
        except _Reached as reached:
            found = _locals_of(reached.__traceback__, self.merger.function.__code__)
        self.replay(Output("stdout", shown.getvalue() + printed))
        if self.loop.kind == "for":
            self.namespace.update(bind(self.loop, item))
        names = {name: found[name] for name in self.merger.local if name in found}
        for name in gone - names.keys():
            self.namespace.pop(name, None)
        self.namespace.update(names)


def _locals_of(trace: TracebackType | None, code: Any) -> dict[str, Any]:
    """Return the local variables of the function with `code` where the exception passed."""
    while trace is not None:
        if trace.tb_frame.f_code is code:
            return dict(trace.tb_frame.f_locals)
        trace = trace.tb_next
    return {}
