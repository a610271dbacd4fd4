"""Verdicts on loops: independent, or not and why, as values."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames


class Reason(Enum):
    """Why a loop runs here. Each member is (what the line does, what would make it parallel)."""

    CARRIED = (
        "reads `{name}`, which the previous iteration wrote",
        "compute it from the item alone, or move that part to a loop of its own",
    )
    READS_ACCUMULATOR = (
        "reads `{name}`, which earlier iterations filled",
        "collect first and look at `{name}` after the loop",
    )
    LEAVES_EARLY = (
        "leaves the loop early (`{name}`), so later iterations depend on earlier ones",
        "compute all of them and choose afterwards",
    )
    SUSPENDS = ("uses `{name}` inside the loop", "keep `{name}` out of the loop")
    MUTATES_CAPTURED = (
        "changes `{name}`, which all iterations share",
        "make a fresh object in each iteration and collect the results",
    )
    ATTRIBUTE_WRITE = (
        "writes an attribute of `{name}`, which all iterations share",
        "collect values in a list or dict and set the attribute after the loop",
    )
    GLOBAL_WRITE = (
        "declares `{name}` global, so iterations share it",
        "return the value instead",
    )
    HIDDEN_WRITE = (
        "calls `{name}`, which {detail}",
        "make the function return what it found instead of keeping it",
    )
    HIDDEN_READ = (
        "calls `{name}`, which {detail}",
        "pass the value as an argument",
    )
    ITERABLE_CHANGES = (
        "changes `{name}` while the loop walks over it",
        "put `list(…)` around what the loop walks over: `list({detail})`",
    )
    ITERABLE = (
        "walks over {detail}, which can be walked only once and shares its place with other code",
        "make a list of it first",
    )
    WALK = ("walks over {detail}", "make a list of it first")
    RANDOM = (
        "draws from the shared random generator {detail}, so each draw depends on those before",
        "make one generator per item: `rng = cloud.rng()`, or `np.random.default_rng([seed, i])`"
        " to get the same numbers again",
    )
    INTERACTIVE = ("uses `{name}`, which needs this kernel", "ask before the loop")
    FILE_HANDLE = (
        "uses the open file `{name}`, which all iterations share",
        "open the file inside the loop, or write after it",
    )
    ITERATOR = (
        "takes from the iterator `{name}`, so iterations depend on each other's turn",
        "make a list of it and index that",
    )
    PLOT = (
        "draws on a figure that all iterations share (`{name}`)",
        "make the figure inside the loop and show or close it there, or draw after the loop",
    )
    IDENTITY = (
        "depends on which object it is, not on its value ({detail})",
        "compare values, or give the objects a key of their own",
    )
    SET_ORDER = (
        "puts a set in order ({detail}), and the order of a set differs between processes",
        "use `sorted(…)`",
    )
    PROCESS_STATE = (
        "uses state of this process (`{name}`)",
        "do it outside the loop",
    )
    DEFINES = (
        "defines `{name}` inside the loop, where it would keep the values of one iteration",
        "define it above the loop, with what it needs as arguments",
    )
    NAMESPACE = (
        "uses `{name}`, which can reach any variable",
        "use the variables by name",
    )
    ALIASED = (
        "changes `{name}`, and {detail}",
        "work on a copy",
    )
    UNKNOWN_EFFECT = (
        "calls `{name}`, which may change an object that all iterations share",
        "call it outside the loop, or on an object made inside it",
    )
    ORDER_OF_OUTPUT = (
        "prints `{name}`, which depends on earlier iterations, before work that may print too",
        "print it at the end of the loop body",
    )
    UNSUPPORTED = ("{detail}", "")


@dataclass(frozen=True)
class NotIndependent:
    """The loop is left as it is: the reason, the line, and the name it is about."""

    reason: Reason
    line: int
    name: str = ""
    detail: str = ""

    def explain(self, *, offset: int = 0) -> str:
        """Return the sentence for the user; `offset` is added to the line."""
        what, advice = self.reason.value
        sentence = f"line {self.line + offset} " + what.format(name=self.name, detail=self.detail)
        if not advice:
            return sentence
        return f"{sentence}; to run it in parallel, {advice.format(name=self.name, detail=self.detail)}"

    def __str__(self) -> str:
        return self.explain()


class RefusalReason(Exception):
    """Carries a `NotIndependent` out of the depth of the analysis; never leaves the package."""

    def __init__(self, refused: NotIndependent) -> None:
        super().__init__(refused)
        self.refused = refused


def refuse(reason: Reason, node: ast.AST | int, name: str = "", detail: str = "") -> RefusalReason:
    """Return the exception that ends the analysis with this reason."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 0)
    return RefusalReason(NotIndependent(reason, line, name, detail))


SiteKind = Literal["store", "consume", "fold", "yield"]


@dataclass(frozen=True, eq=False)
class LoopSite:
    """A statement that the kernel executes, in item order, with operands from the worker."""

    index: int
    node: ast.stmt | ast.expr
    """The user's own node, never changed."""
    kind: SiteKind
    """store: keeps a reference; consume: reads its operands at once; fold: reads what
    earlier iterations left; yield: an element of a comprehension."""
    holes: tuple[ast.expr, ...]
    """Expressions computed in the worker, in the order Python evaluates them."""
    inputs: tuple[str, ...]
    """Names of the iteration that the rest of the statement reads."""
    copies: frozenset[str] = frozenset()
    """Operand names that the iteration changes later, so they are copied when recorded."""
    checks: tuple[str, ...] = ()
    """What must hold of the operands for the statement not to raise (inside `try`)."""

    @property
    def line(self) -> int:
        return getattr(self.node, "lineno", 0)


@dataclass(frozen=True, eq=False)
class Parallel:
    """The iterations are independent but for the sites, which the kernel runs in order."""

    line: int
    kind: Literal["for", "list", "set", "dict", "generator"]
    reads: frozenset[str]
    """Names from outside that an iteration reads."""
    targets: tuple[str, ...]
    """Names bound by the loop's own target."""
    local: frozenset[str]
    """Names an iteration binds for itself, which come back as the last one left them."""
    definite: frozenset[str]
    """Those of `local` that every iteration binds."""
    shared: frozenset[str]
    """Names the sites write; they live in the kernel."""
    sites: tuple[LoopSite, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    """Groups of targets whose values must differ between items (checked before the run)."""
    own_slots: frozenset[str] = frozenset()
    """Shared containers that an iteration reads too, at its own index."""
    deep: frozenset[str] = frozenset()
    """Shared names of which not only the object itself is changed but objects inside it."""

    @property
    def effects(self) -> tuple[str, ...]:
        """The statements that the kernel runs, as the user wrote them."""
        return tuple(ast.unparse(site.node) for site in self.sites if site.kind != "yield")

    def explain(self, *, offset: int = 0) -> str:
        """Return the sentence for the user; `offset` is added to the line."""
        what = {"for": "loop"}.get(self.kind, f"{self.kind} comprehension")
        if self.kind == "generator":
            what = "generator argument"
        text = f"line {self.line + offset}: {what} with independent iterations"
        return f"{text}; here, in order: {'; '.join(self.effects)}" if self.effects else text

    def __str__(self) -> str:
        return self.explain()


Verdict = Parallel | NotIndependent


def stays_here(
    error: BaseException, line: int, names: Iterable[str], live: LiveNames
) -> NotIndependent:
    """Return the verdict on a loop whose objects could not be looked at.

    Parameters
    ----------
    error
        What looking at them raised.
    line
        The loop's.
    names
        The names that the loop uses.
    live
        The namespace, to find out which of the names stands for the object that raised.

    Raises
    ------
    KeyboardInterrupt
        `error` is one: that is the user's intent, not the object's.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    asked = _objects_asked(error.__traceback__)
    name = next((name for name in sorted(names) if id(live.get(name)) in asked), "")
    if not name:
        name = next((kind for kind in asked.values() if kind), "")
    what = f"`{name}`" if name else "an object"
    detail = f"uses {what}, which raised {type(error).__name__} when the button looked at it"
    return NotIndependent(Reason.UNSUPPORTED, line, name, detail)


def _objects_asked(traceback: types.TracebackType | None) -> dict[int, str]:
    """Return the first arguments of the calls under way, the innermost first: class names by id."""
    asked: dict[int, str] = {}
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        code = frame.f_code
        if code.co_argcount and not frame.f_globals.get("__name__", "").startswith("cloudbutton_"):
            value = frame.f_locals.get(code.co_varnames[0], UNKNOWN)
            asked = {id(value): type(value).__name__} | asked
    return asked
