"""Runs a cell plainly and with its loops sent away, and lists every difference it left."""

from __future__ import annotations

import contextlib
import datetime
import dis
import io
import itertools
import linecache
import pathlib
import re
import struct
import sys
import types
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cloudbutton_magic.button import Button, CellReport, StartOverhead, run_unchanged
from cloudbutton_magic.button.loop_run import LoopReport, Mapper

_numbers = itertools.count()
ATOMS = (
    type(None), bool, int, str, bytes, range, type(...), types.ModuleType, datetime.date,
    datetime.timedelta, pathlib.PurePath,
)  # fmt: skip


@dataclass
class Run:
    """What one way of running the cell left behind."""

    namespace: dict[str, Any]
    stdout: str
    error: BaseException | None
    loops: list[LoopReport] = field(default_factory=list)
    report: CellReport | None = None


def run_twice(setup: str, cell: str, mapper: Mapper, *, some_here: bool = False) -> tuple[Run, Run]:
    """Return the plain run and the run with loops sent away, each in its own namespace.

    With `some_here` the first iteration of each loop runs here, and the rest is sent.
    """
    free = StartOverhead(start=-1000.0, item=0.0)
    number = next(_numbers)
    import ast

    runs = []
    for way in ("plain", "sent"):
        namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        np.random.set_bit_generator(np.random.MT19937())  # as in a fresh kernel
        _execute(setup, f"<setup-{way}-{number}>", namespace)
        filename = f"<cell-{number}>"
        linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
        out = io.StringIO()
        run = Run(namespace, "", None)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            try:
                if way == "plain":
                    run_unchanged(ast.parse(cell), filename, namespace)
                else:
                    button = Button(mapper, workers=2, overhead=free)
                    run.report = button.run(
                        cell, namespace, filename=filename, force=not some_here, reports=run.loops
                    )
            except Exception as error:
                run.error = error
        run.stdout = out.getvalue()
        runs.append(run)
    return runs[0], runs[1]


def _execute(source: str, filename: str, namespace: dict[str, Any]) -> None:
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, filename, "exec"), namespace)


def differences(plain: Run, sent: Run) -> list[str]:
    """Return what differs: names, values, identities, output, exceptions."""
    found = []
    if _without_addresses(plain.stdout) != _without_addresses(sent.stdout):
        found.append(f"stdout: {plain.stdout!r} != {sent.stdout!r}")
    if _error(plain) != _error(sent):
        found.append(f"error: {_error(plain)} != {_error(sent)}")
    names, others = _visible(plain), _visible(sent)
    if names != others:
        found.append(f"names: only plain {names - others}, only sent {others - names}")
    comparison = Comparison(plain.namespace, sent.namespace)
    for name in sorted(names & others):
        comparison.compare(plain.namespace[name], sent.namespace[name], name)
    comparison.compare_memory()
    return found + comparison.found


def _without_addresses(text: str) -> str:
    """Return printed text without memory addresses, which differ from run to run anyway."""
    return re.sub(r"0x[0-9a-f]+", "0x…", text)


def _visible(run: Run) -> set[str]:
    # A warning notes in the globals of the module where it was raised that it was shown.
    return run.namespace.keys() - {"__builtins__", "__warningregistry__"}


def _error(run: Run) -> tuple[Any, ...] | None:
    if run.error is None:
        return None
    lines = []
    trace = run.error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<cell-"):
            lines.append(_line(trace, run.error))
        trace = trace.tb_next
    return type(run.error).__name__, str(run.error), lines[-1:]


def _line(trace: types.TracebackType, error: BaseException) -> int | None:
    """Return the line of the instruction that raised `error`.

    Once code is warm, CPython 3.11 runs some pairs of instructions as one. If the second finds its
    variable unbound, the traceback shows the line of the first: in ``best = x`` above ``prev = y``,
    say. Whether code is warm depends on how many iterations ran here before.
    """
    if sys.version_info[:2] != (3, 11) or not isinstance(error, UnboundLocalError):
        return trace.tb_lineno
    line = None
    for instruction in dis.get_instructions(trace.tb_frame.f_code):
        line = instruction.starts_line or line
        if instruction.offset >= trace.tb_lasti and f"'{instruction.argval}'" in str(error):
            return line
    return trace.tb_lineno


def bytes_of(array: Any) -> bytes:
    """Return the elements of an array, whatever they are masked by or called."""
    return np.asarray(array).tobytes()


class Comparison:
    """Compares two object graphs: the same types and values, and the same objects shared."""

    def __init__(self, plain: dict[str, Any], sent: dict[str, Any]) -> None:
        self.found: list[str] = []
        self._roots = plain, sent
        self._pairs: dict[int, int] = {id(plain): id(sent)}
        self._back: dict[int, int] = {id(sent): id(plain)}
        self._keep: list[Any] = []
        self._arrays: list[tuple[Any, Any, str]] = []

    def differ(self, place: str, one: Any, other: Any) -> None:
        self.found.append(f"{place}: {one!r:.200} != {other!r:.200}")

    def compare(self, one: Any, other: Any, place: str) -> None:
        if isinstance(one, type):
            if not isinstance(other, type) or one.__qualname__ != other.__qualname__:
                self.differ(place, one, other)
            elif one is not other and not self._met(one, other, place):
                for name in vars(one).keys() & vars(other).keys():
                    if not name.startswith("__"):
                        self.compare(vars(one)[name], vars(other)[name], f"{place}.{name}")
            return
        if type(one) is not type(other):
            if type(one).__qualname__ != type(other).__qualname__:
                self.differ(place, one, other)
                return
            self.compare(type(one), type(other), f"type({place})")
        if isinstance(one, ATOMS):
            if one != other:
                self.differ(place, one, other)
            return
        if isinstance(one, float):
            if struct.pack("d", one) != struct.pack("d", other):
                self.differ(place, one, other)
            return
        if isinstance(one, (complex, np.generic)):
            if np.asarray(one).tobytes() != np.asarray(other).tobytes():
                self.differ(place, one, other)
            return
        if self._met(one, other, place):
            return
        self._keep += [one, other]
        self._inside(one, other, place)

    def _met(self, one: Any, other: Any, place: str) -> bool:
        """Tell whether the two were compared before; they must be the same two then."""
        if isinstance(one, (tuple, frozenset)) and not one:
            return True
        if id(one) in self._pairs or id(other) in self._back:
            if isinstance(one, tuple):
                # Tuples never change; whether two are one object depends on the compiler.
                return False
            if self._pairs.get(id(one)) != id(other):
                self.found.append(f"{place}: shares an object in one of the two only")
            return True
        self._pairs[id(one)] = id(other)
        self._back[id(other)] = id(one)
        return False

    def _inside(self, one: Any, other: Any, place: str) -> None:
        if isinstance(one, dict):
            if len(one) != len(other):
                self.differ(place, one, other)
                return
            for number, ((k1, v1), (k2, v2)) in enumerate(zip(one.items(), other.items())):
                self.compare(k1, k2, f"{place} key {number}")
                self.compare(v1, v2, f"{place}[{k1!r}]")
        elif isinstance(one, (list, tuple, deque)):
            if len(one) != len(other):
                self.differ(place, one, other)
                return
            for number, (v1, v2) in enumerate(zip(one, other)):
                self.compare(v1, v2, f"{place}[{number}]")
        elif isinstance(one, (set, frozenset)):
            ordered = all(isinstance(v, (int, float)) for v in one)
            if (one != other and all(isinstance(v, ATOMS) for v in one)) or len(one) != len(other):
                self.differ(place, one, other)
            elif ordered and list(one) != list(other):
                self.differ(f"order of {place}", list(one), list(other))
        elif isinstance(one, np.ndarray):
            self._array(one, other, place)
        elif isinstance(one, (pd.DataFrame, pd.Series, pd.Index)):
            self._frame(one, other, place)
        elif isinstance(one, types.FunctionType):
            if one.__code__.co_code != other.__code__.co_code:
                self.differ(place, one, other)
            first, second = (f.__globals__ is root for f, root in zip((one, other), self._roots))
            if first != second:
                self.found.append(f"{place}: its globals are the notebook's in one of the two only")
        elif hasattr(one, "__dict__"):
            if isinstance(one, BaseException):
                self.compare(list(one.args), list(other.args), f"{place}.args")
            self.compare(vars(one), vars(other), f"vars({place})")
        elif hasattr(one, "__slots__"):
            for name in one.__slots__:
                self.compare(
                    getattr(one, name, None), getattr(other, name, None), f"{place}.{name}"
                )
        elif repr(one).partition(" at 0x")[0] != repr(other).partition(" at 0x")[0]:
            self.differ(place, one, other)

    def _array(self, one: Any, other: Any, place: str) -> None:
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            self.differ(place, one, other)
        elif one.dtype.hasobject:
            for number, (v1, v2) in enumerate(zip(one.flat, other.flat)):
                self.compare(v1, v2, f"{place}.flat[{number}]")
        elif bytes_of(one) != bytes_of(other) or one.flags.writeable != other.flags.writeable:
            self.differ(place, one, other)
        if one.strides != other.strides and one.size > 1:
            self.differ(f"layout of {place}", one.strides, other.strides)
        self._arrays.append((one, other, place))

    def _frame(self, one: Any, other: Any, place: str) -> None:
        assert_equal = getattr(pd.testing, f"assert_{type(one).__name__.lower()}_equal", None)
        try:
            if assert_equal is not None:
                assert_equal(one, other, check_exact=True)
            elif not one.equals(other):
                raise AssertionError("indexes differ")
        except AssertionError as error:
            self.found.append(f"{place}: {error}")

    def compare_memory(self) -> None:
        """Compare which arrays are views of each other's memory."""
        for (a1, b1, p1), (a2, b2, p2) in itertools.combinations(self._arrays[:60], 2):
            if np.may_share_memory(a1, a2) != np.may_share_memory(b1, b2):
                self.found.append(f"{p1} and {p2} share memory in one of the two only")
