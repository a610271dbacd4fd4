"""Build the view of a job: its progress, and its failed items grouped by how they failed."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from cloudbutton_backend import units
from cloudbutton_backend.job_model import BatchRecord, ItemOutcome, Progress
from cloudbutton_backend.worker.failures import message_of
from cloudbutton_magic.display.rendering import html_of, summary_timeline, text_of
from cloudbutton_magic.display.view_model import FailureGroup, View, view_of, view_of_part


def failure_groups(
    errors: Mapping[int, BaseException], targets: Sequence[str] = ()
) -> list[FailureGroup]:
    """Group errors by type and the line that raised, the most frequent first.

    Messages often hold the item's values, so two errors alike may read differently.
    """
    alike: dict[tuple[Any, ...], list[int]] = {}
    for index in sorted(errors):
        alike.setdefault(_place(errors[index]), []).append(index)
    groups = []
    for indices in sorted(alike.values(), key=lambda indices: (-len(indices), indices[0])):
        first = indices[0]
        groups.append(
            FailureGroup(
                message=one_line(errors[first]),
                count=len(indices),
                first=_label_of(first, errors[first], targets),
            )
        )
    return groups


def one_line(error: BaseException) -> str:
    """Return `ValueError: message`, the first line of it."""
    first = next(iter(message_of(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _label_of(index: int, error: BaseException, targets: Sequence[str]) -> str:
    """Return the item of an error, by the number that the user knows if the error has it."""
    number = getattr(error, "cloud_index", index)
    return item_label(number, getattr(error, "cloud_item", None), targets)


def item_label(index: int, item: Any, targets: Sequence[str] = ()) -> str:
    """Return an item as the user knows it: `item 17: C=0.1`."""
    if item is None:
        return f"item {index}"
    text = item if isinstance(item, str) else repr(item)
    # Errors about an item carry its whole label already.
    if text.startswith("item "):
        return text
    if len(targets) == 1:
        text = f"{targets[0]}={text}"
    elif targets:
        text = _named_parts(text, targets) or f"({', '.join(targets)}) = {text}"
    return f"item {index}: {units.clipped(text, 80)}"


def _named_parts(text: str, targets: Sequence[str]) -> str | None:
    """Write `(np.float64(0.1), 3)` as `lr=0.1, depth=3`; None unless it is a tuple that fits."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:  # the repr of some object, or one that was cut short
        return None
    if not isinstance(tree, ast.Tuple) or len(tree.elts) != len(targets):
        return None
    return ", ".join(
        f"{name}={ast.get_source_segment(text, _bare(part))}"
        for name, part in zip(targets, tree.elts, strict=True)
    )


def _bare(node: ast.expr) -> ast.expr:
    """Take NumPy's type off a number; it says nothing here."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np")), args=[value], keywords=[]):
            return value
    return node


def _place(error: BaseException) -> tuple[Any, ...]:
    trace = error.__traceback__
    if trace is None:
        return (type(error), one_line(error))
    while trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error), trace.tb_frame.f_code.co_filename, trace.tb_lineno)


class Drawable(Protocol):
    """The part of a job that a view reads."""

    @property
    def id(self) -> str: ...
    @property
    def progress(self) -> Progress: ...
    def errors(self) -> Mapping[int, BaseException]: ...
    def timeline(self) -> Sequence[BatchRecord]: ...


MAX_COMPARED: Final = 1000
"""Beyond this many, failed items are counted but not compared: each is an exception to rebuild."""


def job_view(job: Drawable, targets: Sequence[str] = ()) -> View:
    """Return the view of a job as it is now."""
    progress = job.progress
    compare = progress.state.is_final and 0 < progress.failed <= MAX_COMPARED
    groups = failure_groups(job.errors(), targets) if compare else []
    return view_of(progress, failures=groups)


def part_view(progress: Progress, ended: ItemOutcome | None) -> View:
    """Return the view of a job that the cell wanted no more of.

    Parameters
    ----------
    ended
        The first outcome that was no result, from which on the loop runs here; None if it ended instead.
    """
    reason = ""
    if ended is not None and ended.error is not None:
        label = _label_of(ended.index, ended.error, ())
        reason = f"{one_line(ended.error)} ({label})"
    return view_of_part(progress, None if ended is None else ended.index, reason)


def job_text(job: Drawable) -> str:
    """Return a job as text, one line if all is well."""
    return text_of(job_view(job))


def job_html(job: Drawable) -> str:
    """Return a job as HTML, with its timeline once it has ended."""
    view = job_view(job)
    return html_of(view, summary_timeline(job.timeline()) if view.is_final else None)
