"""Asks for consent before a pressed cell spends money.

Writing `--backend lambda` above a cell is saying so. A button is easily pressed, and the metadata of
a notebook may come from another person, so there the front end is asked, and until it has agreed the
kernel refuses. The answer holds for that front end's connection and that backend, while this
kernel lives; the front end remembers it in the notebook.
"""

from __future__ import annotations

import _thread
import json
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from cloudbutton_backend.backends.capabilities import DeclaresCost
from cloudbutton_backend.errors import CloudError, UsageError
from cloudbutton_backend.session import session
from cloudbutton_magic.cells.cell_context import front_end_session

ANSWER_WITHIN: Final = 600.0
"""Seconds to wait for an answer: the page may be closed, and a kernel must not wait for ever."""

_agreed: defaultdict[str, set[str]] = defaultdict(set)
"""By the front end's session (a page's connection to this kernel): the backends that may spend."""


class NotConfirmed(UsageError):
    """A pressed cell would have spent money without the user's consent."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.backend = backend

    def __str__(self) -> str:
        return (
            f"Not run: this cell's button is on, `{self.backend}` costs money, and that was not"
            " confirmed. Run the cell again to be asked, or choose another backend for it."
        )


def costs(backend: str) -> bool:
    """Tell whether work on a backend costs money: as it says itself, or because it has a price.

    Raises
    ------
    CloudError
        If the backend cannot be used.
    """
    used = session.current().driver(backend).backend
    if isinstance(used, DeclaresCost):
        return used.costs
    return used.limits.rate is not None and not used.limits.emulated


def agree(shell: Any, backends: Iterable[str]) -> None:
    """Remember that the front end whose request is being answered may spend on `backends`."""
    _agreed[front_end_session(shell)].update(backends)


def require_consent(shell: Any, backend: str) -> None:
    """Return if a cell may run on `backend`.

    Raises
    ------
    NotConfirmed
        If that costs money, and the front end has not agreed.
    """
    if costs(backend) and backend not in _agreed[front_end_session(shell)]:
        raise NotConfirmed(backend)


def ask(shell: Any, backend: str, cell_id: str | None) -> bool:
    """Ask the front end, which shows a dialog; return what it says, False without an answer.

    The question goes the way of `input()`: the cells that were sent after it wait for the answer.
    """
    try:
        if not costs(backend) or backend in _agreed[front_end_session(shell)]:
            return True
    except CloudError:
        return True  # running the cell will say what is wrong, and nothing can be spent
    if threading.current_thread() is not threading.main_thread():
        return False  # a subshell cannot be interrupted, so nothing would end the wait
    question = json.dumps({"cloudbutton": {"backend": backend, "cell_id": cell_id}})
    if _answer(shell, question) != "yes":
        return False
    agree(shell, [backend])
    return True


def _answer(shell: Any, question: str) -> str:
    """Return the front end's answer; empty if it cannot give one, or not in time."""
    lock, answered = threading.Lock(), False

    def give_up() -> None:
        with lock:
            if not answered:
                _thread.interrupt_main()

    timer = threading.Timer(ANSWER_WITHIN, give_up)
    timer.daemon = True
    try:
        timer.start()
        answer: str = shell.kernel.raw_input(question)  # ends: the timer interrupts it
        with lock:  # from here on, none of our interrupts comes
            answered = True
    except (KeyboardInterrupt, EOFError, NotImplementedError, RuntimeError):
        answer = ""
    finally:
        timer.cancel()
    return answer
