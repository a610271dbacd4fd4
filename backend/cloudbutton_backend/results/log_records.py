"""Handles what tasks have logged, with the loggers, filters and handlers of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from cloudbutton_backend.job_model import ItemOutcome

_HANDLED: Final = "cloudbutton_handled"


def handle_records(outcomes: Iterable[ItemOutcome]) -> None:
    """Handle the records of items that have not been handled yet."""
    for outcome in outcomes:
        for output in outcome.outputs:
            if output.kind == "log" and isinstance(output.data, dict):
                handle_record(output.data)


def handle_record(data: dict[str, Any]) -> None:
    """Handle a record as if it had been made here; once, however often it is met."""
    if data.get(_HANDLED):
        return
    record = logging.makeLogRecord(data)
    now = logging.makeLogRecord({})
    record.relativeCreated = now.relativeCreated - (now.created - record.created) * 1000
    record.levelname = logging.getLevelName(record.levelno)
    data[_HANDLED] = True
    logging.getLogger(record.name).handle(record)


def line_of(data: dict[str, Any]) -> str:
    """Return a record in one line, as `logging` shows it unless it is told otherwise."""
    return logging.Formatter(logging.BASIC_FORMAT).format(logging.makeLogRecord(data)) + "\n"
