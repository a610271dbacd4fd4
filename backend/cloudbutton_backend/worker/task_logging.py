"""Log records of tasks: the levels are the notebook's, and its handlers and filters are where it is.

Each logger that has handlers in the notebook's process has a `ForwardingHandler` in a worker. So what a task
logs is decided as it would be there, `basicConfig` in a task does nothing where it would do nothing there,
and a handler that a task adds is the task's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from cloudbutton_backend.worker.atoms import PLAIN
from cloudbutton_backend.worker.output import outputs

_SHELLS: Final = frozenset(["IPKernelApp", "IPython", "ipykernel", "traitlets"])
"""Loggers of the interactive shell, which no task has."""
_OF_PROCESS: Final = frozenset(
    ["process", "processName", "thread", "threadName", "taskName", "relativeCreated", "exc_info"]
)
"""What a record says of where it was made, which is to be where it is handled."""
_SENT: Final = "_cloudbutton_sent"
_USUAL: Final = (0, False, True, None)
_USUAL_ROOT: Final = (logging.WARNING, False, True, None)


class ForwardingHandler(logging.Handler):
    """Stands for the notebook's handlers of one logger."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        if (
            _SENT not in fields
        ):  # else the handlers of a logger below it have it, and those of this one will
            fields[_SENT] = True
            outputs.record(_travelling(record))


def _travelling(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record as plain values: arguments of other kinds are in its message, as text."""
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    fields = {key: value for key, value in vars(record).items() if key not in (*_OF_PROCESS, _SENT)}
    if not _is_plain(record.args) or not isinstance(record.msg, str):
        fields.update(msg=record.getMessage(), args=None)
    return {key: value if _is_plain(value) else str(value) for key, value in fields.items()}


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return type(value) in PLAIN


def read_logging(module: Any) -> Any:
    """Return what is set of the loggers: level, is disabled, propagates, least level of its handlers."""
    loggers = {}
    for name, logger in _loggers():
        handlers = [handler.level for handler in logger.handlers]
        least = min(handlers) if handlers else None
        terms = logger.level, logger.disabled, logger.propagate, least
        if terms != (_USUAL if logger.parent else _USUAL_ROOT):
            loggers[name] = terms
    disabled = logging.root.manager.disable
    return (disabled, loggers) if disabled or loggers else None


def write_logging(module: Any, wanted: Any) -> None:
    """Give the loggers here the levels of those there, and handlers that stand for theirs."""
    logging.disable(wanted[0] if wanted else 0)
    loggers = wanted[1] if wanted else {}
    for name in loggers:
        logging.getLogger(name)
    for name, logger in _loggers():
        usual = _USUAL if logger.parent else _USUAL_ROOT
        level, logger.disabled, logger.propagate, least = loggers.get(name, usual)
        logger.setLevel(level)
        if least is not None:
            logger.handlers[:] = [ForwardingHandler(least)]
        else:  # packages add those that do nothing
            logger.handlers[:] = [h for h in logger.handlers if type(h) is logging.NullHandler]


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    yield "root", logging.root
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] not in _SHELLS:
            yield name, logger
