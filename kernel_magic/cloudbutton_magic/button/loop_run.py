"""Runs one loop of a cell: its first items here, the rest elsewhere if that pays.

The loop in the cell asks for items to run here (`RanHere`), and is told of items that were run
elsewhere (`RanElsewhere`). Whatever goes wrong elsewhere with item k (an exception of the user's, a
shared object changed, a result that cannot travel) has one answer: the results up to k are
put in place and the loop goes on here, plainly, from k. So an exception is raised by the
user's own loop, and nothing can be left half done. Only an item that killed its worker or ran
into a limit is not run here, where it could do the same: its error is raised.
"""

from __future__ import annotations

import ast
import linecache
import sys
import time
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import cloudpickle

from cloudbutton_backend.errors import (
    CaptureError,
    CloudError,
    TaskTimeout,
    UsageError,
    WorkerLost,
)
from cloudbutton_backend.job_model.outcome import ItemOutcome, Output
from cloudbutton_backend.worker.failures import message_of
from cloudbutton_backend.worker.watch import Graph
from cloudbutton_magic.analysis import (
    UNKNOWN,
    Loop,
    Namespace,
    NotIndependent,
    Parallel,
    Reason,
    analyse,
    stays_here,
)
from cloudbutton_magic.analysis.syntax import uses
from cloudbutton_magic.button.checks import find_objection, holds_sets, reached_figure
from cloudbutton_magic.button.commit import (
    Apply,
    Committer,
    IterationRecord,
    Merger,
    part_of,
    representative_part,
)
from cloudbutton_magic.button.item_feed import ItemFeed
from cloudbutton_magic.rewriting import loop_functions as code
from cloudbutton_magic.rewriting import worker_side
from cloudbutton_magic.rewriting.called_functions import FunctionScope
from cloudbutton_magic.rewriting.cell_rewrite import LoopPlan

# A worker need not have this package: what runs around the body travels with it.
cloudpickle.register_pickle_by_value(worker_side)

CHUNK: Final = 0.05
"""Seconds of work done here between two looks at the clock."""

FATAL: Final = (WorkerLost, TaskTimeout)
"""What an item ends with that must not be run here: it would take the kernel with it."""


@dataclass(frozen=True)
class StartOverhead:
    """The overhead of the engine, in seconds."""

    start: float = 0.12
    """Until the first results are back, workers being warm."""
    item: float = 0.0002
    """Per item, for its journey there and back."""


def is_worth_sending(
    elapsed: float,
    done: int,
    remaining: int,
    workers: int,
    overhead: StartOverhead = StartOverhead(),
) -> bool:
    """Return whether `remaining` items finish sooner elsewhere.

    Parameters
    ----------
    elapsed, done
        The time that the items run so far took, and how many they were.
    remaining
        How many are left, as far as known.
    workers
        How many run at the same time elsewhere.
    """
    if not done or not remaining or workers < 1:
        return False
    each = elapsed / done
    here = each * remaining
    there = overhead.start + max(each, here / workers) + overhead.item * remaining
    # A gain of a few per cent is not worth the risk of a wrong guess.
    return there < 0.85 * here


class Mapper(Protocol):
    """Runs ``body(item)`` for all items in other processes.

    Yields the outcomes in item order, lazily; closing the iterator cancels the rest. The body
    watches what it captured by itself, so the engine needs no guard of its own. What `plan`
    returns is for the record: readable Python of what became of the loop. So many items as
    `before` says ran already: where the user reads an item's number, it counts them.
    """

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]: ...


@dataclass(frozen=True)
class RanHere:
    """Items to be run by the loop itself."""

    items: Iterator[Any]


@dataclass(frozen=True)
class RanElsewhere:
    """One item that was run elsewhere: the operands for the loop's sites, in order."""

    ops: list[tuple[Any, ...]]


@dataclass
class LoopReport:
    """The report on one loop."""

    line: int
    verdict: Parallel | NotIndependent | None = None
    items_here: int = 0
    items_elsewhere: int = 0
    seconds_here: float = 0.0
    stopped: str = ""
    """Why the loop came back here before its end, if it did."""
    tried: bool = False
    """Whether items were handed over, so that some may have run elsewhere and here."""


class HiddenChange(CloudError):
    """A loop changed an object that its iterations share; noticed too late to run it here."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line, self.what = line, what

    def __str__(self) -> str:
        return (
            f"The loop in line {self.line} cannot run in parallel: {self.what}. Results of "
            "items already put in place may be wrong; run the cell again without `%%cloud`."
        )


@dataclass
class LoopSetting:
    """The setting that all loops of a cell share."""

    namespace: dict[str, Any]
    filename: str
    flags: int
    mapper: Mapper
    replay: Callable[[Output], None]
    force: bool
    workers: int
    overhead: StartOverhead = field(default_factory=StartOverhead)
    clock: Callable[[], float] = time.perf_counter
    send_at_once: bool = False
    """Send a loop away when it is first reached, without timing it."""


class _Prepared(NamedTuple):
    """A loop prepared for sending its items away."""

    task: worker_side.Task
    payloads: list[Any]
    merger: Merger
    committer: Committer
    plan: LoopPlan


class LoopRun:
    """One execution of one loop."""

    def __init__(
        self,
        loop: Loop,
        iterable: Any,
        setting: LoopSetting,
        scope: FunctionScope | None = None,
        report: LoopReport | None = None,
    ) -> None:
        self.loop, self.setting = loop, setting
        self.scope = scope
        """Of a loop in a function, the source of the setting's namespace."""
        self.iterable = iterable
        self.report = report or LoopReport(loop.line)
        self.source = ItemFeed(iterable)
        self._raised: BaseException | None = None
        """The error that ended the run elsewhere, to be raised here once the results are in place."""

    def events(self) -> Iterator[RanHere | RanElsewhere]:
        """Yield what the loop has to do, in item order."""
        if not (self.setting.force or self._goes_at_once()):
            is_worth = yield from self._run_first_items()
            if not is_worth:
                return
        try:
            verdict = self.report.verdict = self._analyse()
            if isinstance(verdict, Parallel):
                # The iterable may be walked ahead; now the items themselves can be looked at.
                items = self.source.all_remaining()
                if items:
                    yield from self._run_elsewhere(items)
        finally:
            if self.scope is not None:
                self.scope.write_back()
        yield RanHere(self.source.remaining_items)

    # -- here ------------------------------------------------------------------------

    def _goes_at_once(self) -> bool:
        # Inside another loop it is reached again and again: from the second time on, time decides.
        return self.setting.send_at_once and not (
            self.report.items_here or self.report.items_elsewhere
        )

    def _run_first_items(self) -> Generator[RanHere, None, bool]:
        """Run items here until it is clear that the rest is better off elsewhere."""
        clock, report, source = self.setting.clock, self.report, self.source
        workers, overhead = self.setting.workers, self.setting.overhead
        count = 1
        while True:
            before = clock()
            yield RanHere(source.next_items(count))
            spent = clock() - before
            report.items_here += count
            report.seconds_here += spent
            if source.ended:
                return False
            remaining = source.remaining()
            if remaining is None:
                # Unknown; as many again as there have been is the usual guess.
                remaining = report.items_here
            if is_worth_sending(spent, count, remaining, workers, overhead):
                return True
            count = max(1, min(count * 4, int(count * CHUNK / max(spent, 1e-9))))

    # -- elsewhere -------------------------------------------------------------------

    def _analyse(
        self,
        sample: Callable[[str], object] = lambda name: UNKNOWN,
        *,
        sets_inside: bool = False,
    ) -> Parallel | NotIndependent:
        if self.scope is not None:
            self.scope.read_variables()
        live = Namespace(self.setting.namespace)
        verdict = analyse(
            self.loop, live, iterable=self.iterable, sample=sample, sets_inside=sets_inside
        )
        if self.scope is not None and isinstance(verdict, Parallel):
            unbound = self.scope.unbound(verdict.reads | verdict.shared)
            if unbound:
                name = min(unbound)
                return NotIndependent(
                    Reason.UNSUPPORTED, self.loop.line, name, f"uses `{name}`, which has no value"
                )
        return verdict

    def _run_elsewhere(self, items: list[Any]) -> Iterator[RanElsewhere]:
        try:
            prepared = self._prepare(items)
        except BaseException as error:
            live = Namespace(self.setting.namespace)
            self.report.verdict = stays_here(
                error, self.loop.line, uses(self.loop.node).reads, live
            )
            return
        if prepared is None:
            return
        task, payloads, merger, committer, plan = prepared
        pending: tuple[IterationRecord, tuple[Output, ...]] | None = None
        try:
            for record, outputs in self._records(task, payloads, merger, plan):
                if pending is not None:
                    if not committer.commit(*pending):
                        return
                    self.source.skip_one()
                    yield RanElsewhere(pending[0].ops)
                pending = record, outputs
            # What the last one leaves behind must be complete, or it runs again here.
            if pending is not None and not pending[0].omitted and committer.commit(*pending):
                self.source.skip_one()
                yield RanElsewhere(pending[0].ops)
            if self._raised is not None:
                raise self._raised
        finally:
            self.report.items_elsewhere += committer.finished
            committer.close()

    def _prepare(self, items: list[Any]) -> _Prepared | None:
        """Return what sending the items needs; None, with the reason in the report, if they must stay."""
        setting, loop = self.setting, self.loop
        verdict = self.report.verdict
        assert isinstance(verdict, Parallel)
        function = self._body(verdict)
        outer = Graph({"": function}, watch=False)
        inner = Graph({"": items}, watch=False)
        verdict = self.report.verdict = self._analyse(
            lambda name: representative_part(loop, items, name),
            sets_inside=holds_sets(outer, depth=2) or holds_sets(inner, depth=2),
        )
        if isinstance(verdict, Parallel) and (drawn := reached_figure(outer, inner)):
            verdict = self.report.verdict = NotIndependent(Reason.PLOT, loop.line, drawn)
        if isinstance(verdict, NotIndependent):
            return None
        reason = find_objection(
            verdict,
            function,
            items,
            setting.namespace,
            lambda item, n: part_of(loop, item, n),
            outer,
            inner,
        )
        if reason:
            self.report.stopped = reason
            return None
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
        task = worker_side.Task(
            function,
            kept,
            definite,
            seeded=_numpy_is_seeded(),
            sources=_cell_sources(outer),
        )
        merger = Merger(items, function, kept, definite)
        payloads = [(item, index == len(items) - 1) for index, item in enumerate(items)]
        committer = Committer(
            loop,
            verdict,
            setting.namespace,
            setting.replay,
            merger,
            self._apply_function(verdict),
        )
        return _Prepared(task, payloads, merger, committer, LoopPlan(loop, verdict))

    def _body(self, verdict: Parallel) -> types.FunctionType:
        setting = self.setting
        tree = code.build_functions(self.loop, verdict).body
        return code.compile_function(tree, setting.filename, setting.flags, setting.namespace)

    def _apply_function(self, verdict: Parallel) -> Apply | None:
        if all(site.kind == "yield" for site in verdict.sites):
            return None
        setting = self.setting
        tree = code.build_functions(self.loop, verdict).apply
        return code.compile_function(tree, setting.filename, setting.flags, setting.namespace)

    def _records(
        self, task: worker_side.Task, payloads: list[Any], merger: Merger, plan: LoopPlan
    ) -> Iterator[tuple[IterationRecord, tuple[Output, ...]]]:
        """Yield the records of items in order, up to the first that must be run here."""
        outcomes: Iterator[ItemOutcome] = iter(())
        try:
            outcomes = self.setting.mapper(
                task,
                payloads,
                label=_loop_label(self.loop),
                line=self.loop.line,
                before=self.source.taken,
                plan=plan.source,
            )
            self.report.tried = True
            for index, outcome in enumerate(outcomes):
                record = self._record(index, outcome, merger)
                if record is None:
                    return
                yield record, outcome.outputs
        except (GeneratorExit, HiddenChange, UsageError):
            raise
        except (KeyboardInterrupt, *FATAL) as error:
            self._raised = error
        except CaptureError as error:
            self.report.stopped, self.report.tried = _without_task_name(error), False
        except Exception as error:
            # The engine could not send or run it; the loop can still run here.
            self.report.stopped = f"{type(error).__name__}: {message_of(error)}"
        finally:
            close = getattr(outcomes, "close", None)
            if close is not None:
                close()

    def _record(self, index: int, outcome: ItemOutcome, merger: Merger) -> IterationRecord | None:
        if isinstance(outcome.error, FATAL):
            raise outcome.error
        if outcome.error is not None:
            if index == 0 and not outcome.began:  # what cannot be loaded for one is so for all
                self.report.tried = False
            self.report.stopped = f"{type(outcome.error).__name__}: {message_of(outcome.error)}"
            return None
        kind, *content = outcome.value
        if kind == worker_side.LATE:
            raise HiddenChange(self.loop.line, content[0])
        if kind == worker_side.HERE:
            self.report.stopped = content[0]
            return None
        try:
            return merger.record(index, kind, content)
        except Exception as error:
            self.report.stopped = message_of(error)
            return None


def _cell_sources(reached: Graph) -> dict[str, str]:
    """Return the text of each cell that a function comes from, by the name of its file."""
    names = {
        value.__code__.co_filename
        for value, _ in reached.nodes
        if isinstance(value, types.FunctionType)
    }
    entries = {name: linecache.cache.get(name) for name in names}
    # Of a file that does not exist there is no time of a change.
    return {
        name: "".join(entry[2])
        for name, entry in sorted(entries.items())
        if entry is not None and len(entry) == 4 and entry[1] is None
    }


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
        # 128 bits from the system, unless the user chose the seed.
        return sequence is None or sequence.entropy.bit_length() < 65
    except AttributeError:
        return True


def _without_task_name(error: CaptureError) -> str:
    """Return why something cannot travel, in a line that does not name what we put around it."""
    what = str(error).partition("\n")[0].rstrip(".")
    return what.replace(f" (used by {worker_side.Task.__name__}.function)", "")


def _loop_label(loop: Loop) -> str:
    head = ast.unparse(loop.target)
    return f"for {head} in {ast.unparse(loop.iter)}"
