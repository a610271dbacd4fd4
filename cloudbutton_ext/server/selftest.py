"""Runs two items on a backend and says how long each step took: `python -m … NAME`.

A process of its own, so that a backend that hangs, or that breaks the interpreter, does no harm to the
Jupyter server. It prints a line of JSON for each step as it is done, so that of a trial that was ended it is
known how far it came.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TextIO, TypeVar

Value = TypeVar("Value")


def main(name: str, out: TextIO) -> int:
    """Try a backend; return 0 if it gave the right answers."""
    from cloudbutton_backend.errors import CloudError

    # The steps go out on a copy, so that what a backend prints does not get in between.
    def say(**message: object) -> None:
        print(json.dumps(message), file=out, flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="cloudbutton-trial-") as home:
            right = _try(name, Path(home), say)
    except CloudError as error:
        say(message=f"{error}")
        return 1
    say(message=f"{name} gave both answers." if right else f"{name} gave a wrong answer.")
    return 0 if right else 1


def _try(name: str, home: Path, say: Callable[..., None]) -> bool:
    from cloudbutton_backend.capture import capture
    from cloudbutton_backend.job_model import JobOptions
    from cloudbutton_backend.session.session import Session

    def timed(step: str, action: Callable[[], Value]) -> Value:
        began = time.perf_counter()
        value = action()
        say(name=step, seconds=time.perf_counter() - began)
        return value

    home.chmod(0o700)
    with closing(Session(home)) as session:
        timed("start the backend", lambda: session.driver(name).start())
        timed("capture the function", lambda: capture(_plus_one))
        options = JobOptions(backend=name, quiet=True, name="test")
        job = session.map(_plus_one, [1, 2], options=options)
        answers = job.as_completed()
        first = timed("first result", lambda: next(answers))
        second = timed("second result", lambda: next(answers))
        timed("close", session.close)
    return sorted((first, second)) == [(0, 2), (1, 3)]


def _plus_one(x: int) -> int:
    return x + 1


if __name__ == "__main__":
    steps, sys.stdout = sys.stdout, sys.stderr
    sys.exit(main(sys.argv[1], steps))
