"""Archives that depend on what is in them and on nothing else: not on time, order or machine."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Final

#: The earliest that the format can say. All files have it.
_NEVER: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR: Final = 0o100000
_UNIX: Final = 3


def deterministic_zip(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of `files`, by their paths, uncompressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted(files):
            archive.writestr(entry(name), files[name])
    return out.getvalue()


def entry(name: str, *, executable: bool = False) -> zipfile.ZipInfo:
    """Return what an archive says of one file: readable for everybody, as Lambda needs it."""
    info = zipfile.ZipInfo(name, _NEVER)
    info.create_system = _UNIX  # else the machine that makes it shows
    info.external_attr = (_REGULAR | (0o755 if executable else 0o644)) << 16
    return info
