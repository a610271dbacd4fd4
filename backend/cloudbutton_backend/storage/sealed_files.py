"""Files that carry an HMAC: what is unpickled from disk is what this installation wrote there.

A sealed file is a 32-byte header, the purpose and the file's own name, the data, and an HMAC-SHA-256 of
all that with the user's key::

    7s magic "CBSEAL1", a newline | u16 version | u16 length of purpose | u32 length of name |
    u64 length of data | 8 bytes reserved | purpose | name | data | 32-byte HMAC

As purpose and name are sealed too, a file cannot stand in for another. Data are read into memory before
their seal is looked at: what is checked is what is used, even if the file changes meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
import struct
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cloudbutton_backend.errors import SettingsError, Tampered
from cloudbutton_backend.storage.home import home
from cloudbutton_backend.worker.regular_files import NotRegular, open_regular
from cloudbutton_backend.worker.wire import Buffer

KEY_BYTES: Final = 32
MAGIC: Final = b"CBSEAL1\n"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sHHIQ8x")
_SEAL_BYTES: Final = 32


def key(base: Path | None = None) -> bytes:
    """Return the user's secret, with which everything that is unpickled from elsewhere is authenticated.

    32 random bytes in the file ``key`` under `base` (default: `home`), mode 0600, made on first use.

    Raises
    ------
    SettingsError
        Others can read the file or could have put it there, or it does not hold a key.
    """
    path = (home() if base is None else base) / "key"
    if not path.exists():
        _make_key(path)
    with open_regular(path) as file:  # one open file: what is checked is what is read
        found = os.fstat(file.fileno())
        secret = file.read()
    _require_ours(path, found)
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"{path} holds {len(secret)} bytes instead of {KEY_BYTES}. {_RENEW}")
    return secret


def results_key(base: Path, job_id: str) -> bytes:
    """Return the key that seals one job's result files: other processes have it, and no other job's."""
    return digest(key(base), [b"results\0", job_id.encode()])


def digest(secret: bytes, pieces: Iterable[Buffer]) -> bytes:
    """Return the HMAC-SHA-256 of `pieces`, one after the other."""
    state = hmac.new(secret, digestmod=hashlib.sha256)
    for piece in pieces:
        state.update(piece)
    return state.digest()


def write_sealed(
    path: Path, data: Buffer | Sequence[Buffer], *, purpose: str, base: Path | None = None
) -> None:
    """Put `data` into the file at `path`, whole or not at all, and on disk when this returns.

    Parameters
    ----------
    purpose
        What the file is for; `read_sealed` must name the same.
    base
        Where the key is (default: `home`).

    Raises
    ------
    OSError
        It cannot be written; an older file is as it was.
    """
    pieces = [data] if isinstance(data, (bytes, bytearray, memoryview)) else data
    views = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    head = _head(purpose, path.name, sum(view.nbytes for view in views))
    seal = digest(key(base), [head, *views])
    fd, made = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        with open(fd, "wb") as file:
            file.writelines((head, *views, seal))
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise
    _sync_directory(path.parent)


def read_sealed(path: Path, purpose: str, *, base: Path | None = None) -> memoryview:
    """Return the data of a sealed file, in memory of its own that may be written to.

    Raises
    ------
    Tampered
        It was not sealed with this key, for this purpose and under this name, or changed since.
    FileNotFoundError
        There is no such file.
    """
    secret = key(base)
    try:
        opened = open_regular(path)
    except NotRegular as error:
        raise Tampered(str(path), "it is no file") from error
    with opened as file:
        size = os.fstat(file.fileno()).st_size
        whole = memoryview(bytearray(size))
        got = 0
        while got < size and (part := file.readinto(whole[got:])):
            got += part
    if got < size or size < _HEADER.size + _SEAL_BYTES:
        raise Tampered(str(path), "it is no whole sealed file")
    magic, version, *_ = _HEADER.unpack_from(whole)
    if magic != MAGIC:
        raise Tampered(str(path), "it is no sealed file")
    if version > VERSION:
        raise Tampered(str(path), "it was written by a newer version")
    stop = size - _SEAL_BYTES
    if not hmac.compare_digest(digest(secret, [whole[:stop]]), whole[stop:]):
        raise Tampered(str(path), "its seal does not fit")
    lead = len(_head(purpose, path.name, 0))
    if whole[:lead].tobytes() != _head(purpose, path.name, stop - lead):
        raise Tampered(str(path), f"it was sealed as another file than `{path.name}` ({purpose})")
    return whole[lead:stop]


def _head(purpose: str, name: str, length: int) -> bytes:
    words, title = purpose.encode(), os.fsencode(name)
    header = _HEADER.pack(MAGIC, VERSION, len(words), len(title), max(0, length))
    return header + words + title


def _sync_directory(path: Path) -> None:
    """Put the new name on disk as well; where a directory cannot be opened, this is not needed."""
    if os.name != "posix":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_key(path: Path) -> None:
    """Make a key; if another process was faster, its key is the key."""
    fd, made = tempfile.mkstemp(prefix=".key-", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(made, path)  # the name appears once, with all of its bytes
    finally:
        os.unlink(made)
    _sync_directory(path.parent)


_RENEW: Final = (
    "Remove it, and a new one is made: detached jobs, jobs to attach to and the cache need the old one"
    " and are lost with it."
)


def _require_ours(path: Path, found: os.stat_result) -> None:
    if not hasattr(os, "getuid"):  # Windows: the profile directory's access list does this
        return
    around, mode = path.parent.stat(), stat.S_IMODE(found.st_mode)
    if found.st_uid != os.getuid():
        raise SettingsError(
            f"{path} belongs to user id {found.st_uid}, not to you: files sealed with it could be"
            f" theirs. {_RENEW}"
        )
    if mode & 0o077:
        raise SettingsError(
            f"{path} (mode {mode:04o}) can be read by others, who could forge results with it. If nobody"
            f" else can have read it: `chmod 600 {path}`. If not: {_RENEW[0].lower()}{_RENEW[1:]}"
        )
    if around.st_uid not in (os.getuid(), 0) or around.st_mode & 0o022:
        raise SettingsError(
            f"{path.parent} (mode {stat.S_IMODE(around.st_mode):04o}) can be written by others, who"
            f" could replace the key in it: `chmod 700 {path.parent}`."
        )
