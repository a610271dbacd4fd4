"""Runs one loop of a cell: its first items here, the rest elsewhere if that pays.

The loop in the cell asks for items to run here (`Here`), and is told of items that were run
elsewhere (`There`). Whatever goes wrong elsewhere with item k (an exception of the user's, a
shared object changed, a result that cannot travel) has one answer: the results up to k are
put in place and the loop goes on here, plainly, from k. So an exception is raised by the
user's own loop, and nothing can be left half done.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import cloudpickle

from cloudbutton_backend.jobs.outcome import ItemOutcome, Output

from ..analysis import Loop, Namespace, Parallel, Refused, analyse
from ..analysis.names import uses
from ..rewriting import body as code
from ..rewriting import graph, habits, remote
from .decision import Overhead, decide
from .engine import Mapper
from .merge import Merger, Record, part_of
from .objections import objection
from .settle import Apply, Settler
from .source import END, Source

# A worker need not have this package: what runs around the body travels with it.
cloudpickle.register_pickle_by_value(graph)
cloudpickle.register_pickle_by_value(habits)
cloudpickle.register_pickle_by_value(remote)

CHUNK = 0.05
"""Seconds of work done here between two looks at the clock."""


@dataclass(frozen=True)
class Here:
    """Items to be run by the loop itself."""

    items: Iterator[Any]


@dataclass(frozen=True)
class There:
    """One item that was run elsewhere: the operands for the loop's sites, in order."""

    ops: list[tuple[Any, ...]]


@dataclass
class LoopReport:
    """What became of one loop."""

    line: int
    verdict: Parallel | Refused | None = None
    items_here: int = 0
    items_there: int = 0
    seconds_here: float = 0.0
    stopped: str = ""
    """Why the loop came back here before its end, if it did."""


@dataclass
class Setting:
    """What all loops of a cell have in common."""

    namespace: dict[str, Any]
    filename: str
    flags: int
    mapper: Mapper
    replay: Callable[[Output], None]
    force: bool
    workers: int
    overhead: Overhead = field(default_factory=Overhead)
    clock: Callable[[], float] = time.perf_counter


class LoopRun:
    """One execution of one loop."""

    def __init__(self, loop: Loop, iterable: Any, setting: Setting) -> None:
        self.loop, self.setting = loop, setting
        self.iterable = iterable
        self.report = LoopReport(loop.line)

    def events(self) -> Iterator[Here | There]:
        """Yield what the loop has to do, in item order."""
        source = Source(self.iterable)
        if not self.setting.force:
            worth = yield from self._begin_here(source)
            if not worth:
                return
        verdict = self._judge(source)
        self.report.verdict = verdict
        if isinstance(verdict, Parallel):
            yield from self._elsewhere(verdict, source)
        yield Here(source.steps)

    # -- here ------------------------------------------------------------------------

    def _begin_here(self, source: Source) -> Generator[Here, None, bool]:
        """Run items here until it is clear that the rest is better off elsewhere."""
        clock, report = self.setting.clock, self.report
        count = 1
        while True:
            if source.first() is END:
                return False
            before = clock()
            yield Here(source.some(count))
            spent = clock() - before
            report.items_here += count
            report.seconds_here += spent
            remaining = source.remaining()
            if remaining is None:
                # Nobody knows; as many again as there have been is the usual guess.
                remaining = report.items_here
            choice = decide(spent, count, remaining, self.setting.workers, self.setting.overhead)
            if choice == "go":
                return True
            count = max(1, min(count * 4, int(count * CHUNK / max(spent, 1e-9))))

    # -- the verdict -----------------------------------------------------------------

    def _judge(self, source: Source) -> Parallel | Refused:
        item = source.first()
        live = Namespace(self.setting.namespace)
        verdict = analyse(
            self.loop, live, iterable=self.iterable,
            sample=lambda name: part_of(self.loop, item, name),
        )  # fmt: skip
        return verdict

    # -- elsewhere -------------------------------------------------------------------

    def _elsewhere(self, verdict: Parallel, source: Source) -> Iterator[There]:
        items = source.rest()
        if not items:
            return
        trees = code.build(self.loop, verdict)
        setting, loop = self.setting, self.loop
        function = code.load(trees.body, setting.filename, setting.flags, setting.namespace)
        reason = objection(
            verdict, function, items, setting.namespace, lambda item, n: part_of(loop, item, n)
        )
        if reason:
            self.report.stopped = reason
            return
        local = (
            tuple(sorted(verdict.local))
            if self.loop.kind == "for"
            else tuple(sorted(verdict.local & uses(self.loop.node).binds.keys()))
        )
        rebound = set(uses(self.loop.body).binds)
        # A plain target is bound to the item itself; parts of it may be made by unpacking.
        plain = {loop.target.id} - rebound if isinstance(loop.target, ast.Name) else set()
        kept = tuple(n for n in local if n not in plain)
        # A generator's consumer may stop anywhere, so nothing is left to a later iteration.
        definite = verdict.definite if loop.kind == "for" else frozenset[str]()
        task = remote.Task(
            function, kept, definite, seeded=_numpy_is_seeded(), habits=habits.current()
        )
        merger = Merger(items, function, kept, definite)
        payloads = [(item, index == len(items) - 1) for index, item in enumerate(items)]
        settler = Settler(
            loop, verdict, setting.namespace, setting.replay, merger,
            self._applier(trees, verdict),
        )  # fmt: skip
        pending: tuple[Record, tuple[Output, ...]] | None = None
        try:
            for record, outputs in self._records(task, payloads, merger):
                if pending is not None:
                    if not settler.settle(*pending):
                        return
                    source.step()
                    yield There(pending[0].ops)
                pending = record, outputs
            # What the last one leaves behind must be complete, or it runs again here.
            if pending is not None and not pending[0].owed and settler.settle(*pending):
                source.step()
                yield There(pending[0].ops)
        finally:
            self.report.items_there += settler.finished
            settler.close()

    def _applier(self, trees: code.Trees, verdict: Parallel) -> Apply | None:
        if all(site.kind == "yield" for site in verdict.sites):
            return None
        setting = self.setting
        return code.load(trees.apply, setting.filename, setting.flags, setting.namespace)

    def _records(
        self, task: remote.Task, payloads: list[Any], merger: Merger
    ) -> Iterator[tuple[Record, tuple[Output, ...]]]:
        """Yield the records of items in order, up to the first that must be run here."""
        outcomes = self.setting.mapper(task, payloads, label=_label(self.loop), line=self.loop.line)
        try:
            for index, outcome in enumerate(outcomes):
                record = self._record(index, outcome, merger)
                if record is None:
                    return
                yield record, outcome.outputs
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except Exception as error:
            # The engine could not send or run it; the loop can still run here.
            self.report.stopped = f"{type(error).__name__}: {error}"
        finally:
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()

    def _record(self, index: int, outcome: ItemOutcome, merger: Merger) -> Record | None:
        if outcome.error is not None:
            self.report.stopped = f"{type(outcome.error).__name__}: {outcome.error}"
            return None
        kind, *content = outcome.value
        if kind == remote.HERE:
            self.report.stopped = content[0]
            return None
        try:
            return merger.record(index, kind, content)
        except Exception as error:
            self.report.stopped = str(error)
            return None


def _numpy_is_seeded() -> bool:
    """Tell whether NumPy's global generator was given a seed in this kernel.

    Library code may draw from it without its results showing it (an SVC does). Unless it was
    seeded, the plain cell would get other draws each time it is run, too.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    try:
        sequence = numpy.random.mtrand._rand._bit_generator.seed_seq
        # 128 bits from the system, unless somebody chose the seed.
        return sequence is None or sequence.entropy.bit_length() < 65
    except AttributeError:
        return True


def _label(loop: Loop) -> str:
    head = ast.unparse(loop.target)
    return f"for {head} in {ast.unparse(loop.iter)}"
