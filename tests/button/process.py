"""A real other process, as simply as possible: pickles in through a pipe, outcomes back."""

from __future__ import annotations

import functools
import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cloudpickle

from cloudbutton_backend.job_model.outcome import ItemOutcome, Output


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """What the real engine sends too: functions wrapped by `lru_cache`, with an empty cache."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, functools._lru_cache_wrapper):
            return functools.lru_cache, (value.__wrapped__,)
        return super().reducer_override(value)


def dumps(value: Any) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


WORKER = r"""
import contextlib, io, os, pickle, struct, sys
import cloudpickle
stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
def read():
    size, = struct.unpack("<Q", stdin.read(8))
    return stdin.read(size)
body = None
while True:
    try:
        data = read()
    except struct.error:
        break
    if data[:1] == b"B":
        body = pickle.loads(data[1:])
        continue
    out = io.StringIO()
    try:
        item = pickle.loads(data[1:])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            value = body(item)
        answer = cloudpickle.dumps((True, value, out.getvalue()), 5)
    except BaseException as error:
        answer = cloudpickle.dumps((False, f"{type(error).__name__}: {error}", out.getvalue()), 5)
    stdout.write(struct.pack("<Q", len(answer)) + answer)
    stdout.flush()
"""


class Process:
    """Workers fed in turn; items are given out of order, so that order shows if it matters."""

    def __init__(self, count: int = 2) -> None:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"}
        env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p.endswith("tests"))
        self._workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=env,
            )
            for _ in range(count)
        ]
        self.items_run = 0

    def __call__(
        self,
        body: Callable[[Any], Any],
        items: Sequence[Any],
        *,
        label: str,
        line: int,
        before: int,
        plan: Callable[[], str],
    ) -> Iterator[ItemOutcome]:
        packed = dumps(body)
        for worker in self._workers:
            self._send(worker, b"B" + packed)
        # The last items first: an iteration that needs the one before it would notice.
        answers: dict[int, ItemOutcome] = {}
        for index in range(len(items) - 1, -1, -1):
            worker = self._workers[index % len(self._workers)]
            self._send(worker, b"I" + dumps(items[index]))
            answers[index] = self._outcome(index, self._receive(worker))
            self.items_run += 1
        for index in range(len(items)):
            yield answers[index]

    def close(self) -> None:
        for worker in self._workers:
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.close()
            worker.wait()
            worker.stdout.close()

    def _send(self, worker: subprocess.Popen[bytes], data: bytes) -> None:
        assert worker.stdin is not None
        worker.stdin.write(struct.pack("<Q", len(data)) + data)
        worker.stdin.flush()

    def _receive(self, worker: subprocess.Popen[bytes]) -> bytes:
        assert worker.stdout is not None
        (size,) = struct.unpack("<Q", worker.stdout.read(8))
        return worker.stdout.read(size)

    def _outcome(self, index: int, data: bytes) -> ItemOutcome:
        try:
            good, value, text = pickle.loads(data)
        except Exception as error:
            return ItemOutcome(index, error=error)
        outputs = (Output("stdout", text),) if text else ()
        if good:
            return ItemOutcome(index, value, outputs=outputs)
        return ItemOutcome(index, error=RuntimeError(value), outputs=outputs)
