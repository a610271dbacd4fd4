"""What tasks log goes through the notebook's loggers, filters and handlers, whichever way they run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.magic.conftest import Run
from tests.ways.conftest import WAYS, Along

TASK = """
import logging, sys

def f(x):
    log, child, quiet = (logging.getLogger(name) for name in ("tale", "tale.part", "silent"))
    log.debug("debug %s", x)
    child.info("info %d %s", x, ("a", x))
    quiet.warning("not to be heard")
    logging.warning("root %s", x, extra={"place": f"room {x}"})
    try:
        1 / (x - 1)
    except ZeroDivisionError:
        log.exception("divided %r", log)
    return log.isEnabledFor(logging.INFO), log.isEnabledFor(logging.DEBUG)
"""
SET = """
heard, filtered = [], []

class Heard(logging.Handler):
    def emit(self, record):
        place = getattr(record, "place", "")
        error = (record.exc_text or "").splitlines()[-1:] or [str(record.exc_info[1])] if (
            record.exc_info or record.exc_text) else ""
        heard.append((record.name, record.levelname, record.getMessage(), record.lineno, record.funcName,
            record.processName, place, type(error)))

def keep(record):
    filtered.append(record.getMessage())
    return "info" not in record.msg or "info 2" not in record.getMessage()

handler = Heard()
logging.root.addHandler(handler)
tale, silent = logging.getLogger("tale"), logging.getLogger("silent")
tale.setLevel(logging.INFO)
tale.addFilter(keep)
logging.getLogger("tale.part").addFilter(keep)
tale.addHandler(handler)
silent.disabled = True
"""
UNSET = """
logging.root.removeHandler(handler); tale.removeHandler(handler)
tale.removeFilter(keep); logging.getLogger("tale.part").removeFilter(keep)
tale.setLevel(0); silent.disabled = False
"""
TAKE = "told = list(heard), list(filtered); heard.clear(); filtered.clear()"
IN_THEIR_ORDER = {"Executor", "Pool.apply_async", "joblib", "Dask's graphs"}
"""Ways whose calls are shown in the order in which they end."""


def key(told: list[Any]) -> list[str]:
    return sorted(map(repr, told))


@pytest.mark.parametrize("way", WAYS)
def test_the_notebooks_handlers_hear_what_they_hear_in_the_plain_loop(
    way: str, along: Along, run: Run, shell: Any
) -> None:
    told = []
    for cell in (TASK, SET):
        assert run(cell).error is None
    try:
        for each in ("the plain loop", way):
            values = along(each, "")
            assert run(TAKE).error is None
            told.append((values, *shell.user_ns["told"]))
    finally:
        assert run(UNSET).error is None
    plain, there = told
    assert there[0] == plain[0] == [(True, False)] * 3
    arranged = key if way in IN_THEIR_ORDER else list
    assert [arranged(heard) for heard in there[1:]] == [arranged(heard) for heard in plain[1:]]
    assert len(plain[1]) == 9
