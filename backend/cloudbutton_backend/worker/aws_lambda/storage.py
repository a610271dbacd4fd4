"""Storage as a function sees it: objects at presigned URLs, fetched once and kept.

The function's role needs no permission for storage: each URL allows one request on one object. What
is fetched must have the SHA-256 that the call names.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from typing import Any, Final

from cloudbutton_backend.worker.aws_lambda.call_wire import CallPart
from cloudbutton_backend.worker.blob_cache import BlobCache
from cloudbutton_backend.worker.wire import Buffer

_ATTEMPTS: Final = 4
_PIECE: Final = 1 << 20
_WAIT: Final = 20.0
"""Seconds without a byte after which a request is tried again."""


requests_made: Counter[str] = Counter()
"""Requests made by this process, by method: each has a price."""


class StorageError(Exception):
    """An object could not be fetched or uploaded, after several attempts."""


class DigestMismatch(StorageError):
    """An object's content is not what the call said: it was changed or is damaged."""


class DeadlineExceeded(StorageError):
    """Fetching took all the time that the call has."""


def _request(method: str, url: str, body: Any, headers: dict[str, str], timeout: float) -> Any:
    from urllib.request import Request, urlopen  # 20 ms that most calls can do without

    requests_made[method] += 1
    return urlopen(Request(url, body, headers, method=method), timeout=timeout)


def _retry(what: str, act: Any, accept: Set[int] = frozenset()) -> Any:
    """Call `act` up to a few times until it succeeds; return None for an HTTP status in `accept`."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    trouble: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0.5, 1.5) * 0.1 * 3**attempt)  # not all environments at once
        try:
            return act()
        except HTTPError as error:
            error.close()
            if error.code in accept:
                return None
            trouble = error
            if error.code < 500 and error.code != 429:
                break
        except (DigestMismatch, DeadlineExceeded):
            raise
        except (OSError, HTTPException) as error:  # the latter: it ended in the middle
            trouble = error
    raise StorageError(f"{what} failed: {trouble}") from trouble


def _download(wanted: CallPart, until: float) -> Iterator[bytes]:
    """Yield the content of a part's URL, until the deadline."""
    left = until - time.monotonic()
    try:
        if left <= 0:
            raise TimeoutError
        with _request("GET", wanted.url, None, {}, min(_WAIT, left)) as response:
            while piece := response.read(_PIECE):
                yield piece
                if time.monotonic() > until:
                    raise TimeoutError
    except OSError as error:
        if time.monotonic() < until:
            raise
        text = f"fetching {wanted.nbytes:,} bytes takes longer than the call may"
        raise DeadlineExceeded(text) from error


def fetch(wanted: CallPart, until: float = math.inf) -> bytes:
    """Return the bytes of a part, fetching them before the deadline `until` if they did not come along."""
    if wanted.data is not None:
        return wanted.data

    def act() -> bytes:
        data = b"".join(_download(wanted, until))
        _check(len(data), hashlib.sha256(data).hexdigest(), wanted)
        return data

    data: bytes = _retry(f"fetching {wanted.sha256[:12]}…", act)
    return data


def upload(url: str, pieces: Iterable[Buffer], length: int, *, once: bool = False) -> None:
    """Upload an object. With `once`, an existing object stays: another copy of the call uploaded it."""
    kept = list(pieces)
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
    if once:
        headers["If-None-Match"] = "*"

    def act() -> None:
        _request("PUT", url, iter(kept), headers, 10 * _WAIT).close()

    _retry(f"storing {length:,} bytes of results", act, frozenset({412} if once else ()))


def read_small(url: str, timeout: float) -> bytes | None:
    """Return a small object; None if it does not exist or cannot be read now."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    try:
        with _request("GET", url, None, {}, timeout) as response:
            data: bytes = response.read(1 << 20)
            return data
    except HTTPError as error:
        error.close()
    except (OSError, HTTPException):
        pass
    return None


def _check(nbytes: int, found: str, wanted: CallPart) -> None:
    if nbytes < wanted.nbytes:
        raise ConnectionError(f"the connection ended after {nbytes:,} of {wanted.nbytes:,} bytes")
    if found != wanted.sha256:
        raise DigestMismatch(
            f"the object {wanted.sha256[:12]}… does not hold what it is named for, but {found[:12]}…"
        )


class FetchedBlobs(BlobCache[int]):
    """Fetched objects by their SHA-256: descriptors of files without a name.

    Parameters
    ----------
    room
        Bytes it may take; None for most of what is free where temporary files go.
    """

    def __init__(self, room: int | None = None) -> None:
        super().__init__(_free_bytes() * 4 // 5 if room is None else room, os.close)

    def fetched(self, wanted: CallPart, until: float = math.inf) -> int:
        """Return the descriptor of an object, fetching it if it is not here."""
        return self.get(wanted.sha256, wanted.nbytes, lambda: self._fetch(wanted, until))

    def make_room(self, wanted: Iterable[CallPart]) -> list[str]:
        """Drop objects until those wanted will fit; return the digests of the dropped."""
        names = {part.sha256: part.nbytes for part in wanted}
        missing = sum(size for name, size in names.items() if name not in self)
        return self.evict(names.keys(), missing)

    def _fetch(self, wanted: CallPart, until: float) -> int:
        # Packages and tasks take room there as well.
        in_memory = wanted.nbytes > min(self.free, _free_bytes())

        def act() -> int:
            fd = _unnamed_file(in_memory)
            try:
                state = hashlib.sha256()
                for piece in _download(wanted, until):
                    state.update(piece)
                    with memoryview(piece) as view:
                        while view:
                            view = view[os.write(fd, view) :]
                _check(os.lseek(fd, 0, os.SEEK_CUR), state.hexdigest(), wanted)
            except BaseException:
                os.close(fd)
                raise
            return fd

        fd: int = _retry(f"fetching {wanted.sha256[:12]}…", act)
        return fd


def _unnamed_file(in_memory: bool) -> int:
    """Return a descriptor of a new file without a name, which no other process can open."""
    if in_memory and hasattr(os, "memfd_create"):
        return os.memfd_create("cloudbutton", os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix="cloudbutton-")
    os.unlink(path)
    return fd


def _free_bytes() -> int:
    found = os.statvfs(tempfile.gettempdir())
    return found.f_bavail * found.f_frsize
