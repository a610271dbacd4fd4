"""Decodes what workers sent, or what is in result files, into values and exceptions."""

from __future__ import annotations

import io
import itertools
import mmap
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloudbutton_backend.capture import load_result
from cloudbutton_backend.errors import JobFailed, RemoteError, ResultNotSendable
from cloudbutton_backend.job_model import ItemOutcome, Output
from cloudbutton_backend.results.tracebacks import traceback_from
from cloudbutton_backend.worker.batch_meta import BatchMeta
from cloudbutton_backend.worker.failures import PackedError, PackedLink, TracebackFrame
from cloudbutton_backend.worker.regular_files import open_regular
from cloudbutton_backend.worker.wire import split

_MAP_FROM: Final = 1 << 20
"""Payloads from this size are mapped, smaller ones read."""

_READ_ONLY: Final = (
    "Large arrays that a function uses are shared by all workers, read-only. "
    "To change one in a task, copy it there first: `x = x.copy()`."
)


@dataclass(slots=True)
class ResultRecord:
    """The packed outcome of consecutive items, in memory or in a file."""

    first: int
    count: int
    meta: BatchMeta
    payload: bytes | None
    path: str | None
    offset: int
    length: int
    before: int = 0
    """How many items of the same loop ran before the job's first; messages count them."""
    crc: int | None = None
    """Of the payload, where it is in a file."""

    def _bytes(self) -> memoryview:
        payload = self.payload  # once: it goes when what was held for a full disk is written
        if payload is not None:
            # Arrays in the results must be writable, and must not share memory between calls.
            return memoryview(bytearray(payload))
        view = self._read()
        if zlib.crc32(view) != self.crc:
            job_id = Path(self.path or "").name.split(".")[0]
            raise JobFailed(
                f"The file with the results of items {self.first} to {self.first + self.count - 1}"
                f" is damaged: {self.path}. `%cloud attach {job_id}` in a new kernel runs them again."
            )
        return view

    def _read(self) -> memoryview:
        with self._file() as file:
            if self.length < _MAP_FROM:
                view = memoryview(bytearray(self.length))
                file.seek(self.offset)
                got = 0
                while got < self.length:
                    part = file.readinto(view[got:])
                    if not part:
                        raise EOFError(f"{self.path} ends before byte {self.offset + self.length}")
                    got += part
                return view
            start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
            skip = self.offset - start
            # A private map: the results are the user's to change, the file is not.
            length = skip + self.length
            mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start)
            return memoryview(mapped)[skip:]

    def _file(self) -> io.FileIO:
        assert self.path is not None
        try:
            return open_regular(self.path)
        except FileNotFoundError as error:
            raise JobFailed(
                f"The file with the results of items {self.first} to {self.first + self.count - 1}"
                f" was removed: {self.path}. Run the job again to have them."
            ) from error

    def values(self) -> list[Any]:
        """Return the items' values; one that cannot be unpickled is a `ResultNotSendable`."""
        parts = split(self._bytes())
        index = self.meta.ends
        if index is None:
            values: list[Any] = pickle.loads(parts[0], buffers=parts[1:])
            return values
        stream, buffers = parts[0], parts[1:]
        values = []
        start = n_buffers = 0
        for position, (stop, stop_buffers) in enumerate(index):
            try:
                values.append(load_result([stream[start:stop], *buffers[n_buffers:stop_buffers]]))
            except KeyboardInterrupt:  # of who waits
                raise
            except BaseException as error:  # unpickling may raise what it likes
                values.append(self._unreadable(self.before + self.first + position, error))
            start, n_buffers = stop, stop_buffers
        return values

    def _unreadable(self, index: int, error: BaseException) -> ResultNotSendable:
        reason = f"reading it here raised {type(error).__name__}: {error}"
        failure = ResultNotSendable(f"Item {index}", "a class of yours", reason)
        failure.__cause__ = error
        return failure

    def outcomes(self, first: int, stop: int) -> Iterator[ItemOutcome]:
        """Yield what the items in ``[first, stop)`` left behind."""
        errors, outputs = self.meta.errors, self.meta.outputs
        values = self.values()
        for index in range(first, stop):
            shown = tuple(Output(kind, data) for kind, data in outputs.get(index, ()))
            offset = index - self.first
            if offset in errors:
                error = rebuild_error(errors[offset], index + self.before)
                began = errors[offset]["kind"] != "load"
                yield ItemOutcome(index, None, error, shown, began)
            elif isinstance(values[offset], ResultNotSendable):
                yield ItemOutcome(index, None, values[offset], shown)
            else:
                yield ItemOutcome(index, values[offset], None, shown)


def _exception_from(link: PackedLink) -> BaseException:
    """Build one exception of a chain, with its original type if that is possible at all."""
    error: BaseException | None = None
    if link["packed"] is not None:
        try:
            loaded = pickle.loads(link["packed"])
            if isinstance(loaded, tuple):
                build, arguments = loaded
                loaded = build(*arguments)
            if isinstance(loaded, BaseException):
                error = loaded
        except KeyboardInterrupt:  # of who waits
            raise
        except BaseException:  # its class does not load here; the text below tells what it was
            error = None
    if error is None:
        frames = itertools.starmap(TracebackFrame, link["frames"])
        lines = [f"  {each.function}, line {each.line}: {each.source}" for each in frames]
        error = RemoteError(link["type"], link["message"], "\n".join(lines))
    return error.with_traceback(traceback_from(link["frames"]))


def rebuild_error(packed: PackedError, index: int) -> BaseException:
    """Return the exception of an item, chained as it was; `item` and `index` are attributes of it."""
    if packed["kind"] == "unsendable":
        error: BaseException = ResultNotSendable(f"Item {index}", packed["type"], packed["reason"])
    else:
        chain = [_exception_from(link) for link in packed["links"]]
        for link, outer, inner in zip(packed["links"][1:], chain, chain[1:]):
            if link["relation"] == "cause":
                outer.__cause__ = inner
            else:
                outer.__context__ = inner
        error = chain[0]
    _advise(error)
    tag(error, index, packed.get("item", ""))
    return error


def _advise(error: BaseException) -> None:
    """Say what to do where a task wrote to an array that the workers share."""
    if not isinstance(error, ValueError) or "read-only" not in str(error):
        return
    if hasattr(error, "add_note"):
        error.add_note(_READ_ONLY)
    elif error.args and isinstance(error.args[0], str):  # Python 3.10 has no notes
        error.args = (f"{error.args[0]}\n{_READ_ONLY}", *error.args[1:])


def tag(error: BaseException, index: int, item: str) -> None:
    """Note on an exception which item it belongs to."""
    try:
        error.cloud_index = index  # type: ignore[attr-defined]
        error.cloud_item = item  # type: ignore[attr-defined]
    except Exception:  # a class with __slots__ or a frozen one
        return


def summary_line(packed: PackedError) -> str:
    """Return an item's failure as one line."""
    if packed["kind"] == "unsendable":
        return f"result of type {packed['type']} cannot travel back: {packed['reason']}"
    link = packed["links"][0]
    first = (link["message"].strip().splitlines() or [""])[0]
    return f"{link['type']}: {first}" if first else link["type"]
