"""Opens files to be read, and nothing else that has their names: a pipe would be waited for."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


class NotRegular(OSError):
    """Something else than a file is there."""


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file for reading.

    Raises
    ------
    NotRegular
        Something else is there.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegular(errno.EINVAL, "it is no regular file", str(path))
    return io.FileIO(fd, "rb")
