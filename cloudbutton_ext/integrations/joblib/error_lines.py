"""Keeps the lines of a task's error, which joblib takes away on its way to the user."""

from __future__ import annotations

import traceback


class WorkerTraceback(Exception):
    """Where in the worker a task's error was raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def with_lines(error: BaseException) -> BaseException:
    """Return `error` with its traceback as text at the end of its chain of causes."""
    if error.__traceback__ is None:
        return error
    last, seen = error, {id(error)}
    while last.__cause__ is not None and id(last.__cause__) not in seen:
        last = last.__cause__
        seen.add(id(last))
    if not isinstance(last, WorkerTraceback):
        last.__cause__ = WorkerTraceback("".join(traceback.format_exception(error)))
    return error
