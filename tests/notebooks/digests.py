"""Digests of all that a kernel's names stand for: asked for in the kernel, after each cell."""

from __future__ import annotations

import functools
import hashlib
import random
import re
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

LIMIT: Final = 100_000
"""Objects looked at of one namespace; the rest is told by its type."""
OWN_NAMES: Final = re.compile(
    r"_i+|_i\d+|_\d+|_ih|_oh|_dh|In|exit|quit|open|get_ipython|__\w+__|_{4,}"
)
"""IPython's own, and Python's; what `Out` holds is looked at as such."""
OPAQUE: Final = ("matplotlib", "IPython", "ipykernel", "asyncio", "cloudbutton_backend")
"""Packages of whose objects only the type is told: what they hold is not the notebook's."""


def digests(namespace: dict[str, Any]) -> dict[str, str]:
    """Return a digest of each name's value, and of the random states."""
    look = _Look()
    found = {
        name: look.digest(value, name)
        for name, value in sorted(namespace.items())
        if not OWN_NAMES.fullmatch(name)
    }
    found["Out"] = look.digest(dict(namespace.get("Out", {})), "Out")
    found["the state of `random`"] = look.digest(random.getstate(), "")
    if "numpy" in sys.modules:
        found["the state of `np.random`"] = look.digest(sys.modules["numpy"].random.get_state(), "")
    return found


def files(folder: str) -> dict[str, str]:
    """Return a digest of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    }


class _Look:
    """One walk over the objects of a namespace; one met again is told by where it was met first."""

    def __init__(self) -> None:
        self._met: dict[int, str] = {}
        self._keep: list[Any] = []

    def digest(self, value: Any, place: str) -> str:
        try:
            text = self._tell(value, place)
        except Exception as error:  # the object raises when it is looked at
            text = f"{type(value).__qualname__} raises {type(error).__name__}"
        return (
            text if len(text) <= 60 else hashlib.sha1(text.encode("utf-8", "replace")).hexdigest()
        )

    def _tell(self, value: Any, place: str) -> str:
        kind = type(value)
        if value is None or kind in (bool, int, str, bytes):
            return f"{kind.__name__} {value!r}"
        if kind is float:
            return f"float {value.hex()}"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if kind.__module__.partition(".")[0] in OPAQUE:
            return f"a {kind.__qualname__}"
        if id(value) in self._met and not isinstance(value, (tuple, frozenset)):
            return f"the same as {self._met[id(value)]}"
        if len(self._keep) > LIMIT:
            return f"one more {kind.__qualname__}"
        self._met[id(value)] = place
        self._keep.append(value)
        return f"{kind.__qualname__} {self._inside(value, kind, place)}"

    def _all(self, parts: Iterable[Any], place: str) -> str:
        return ", ".join(self.digest(part, f"{place}[{n}]") for n, part in enumerate(parts))

    def _inside(self, value: Any, kind: type, place: str) -> str:
        top = kind.__module__.partition(".")[0]
        if top == "numpy" and hasattr(value, "tobytes"):
            return self._array(value, place)
        if top == "pandas" and hasattr(value, "index") and hasattr(value, "to_numpy"):
            columns = (
                [value]
                if not hasattr(value, "columns")
                else [value.iloc[:, n] for n in range(value.shape[1])]
            )
            names = list(getattr(value, "columns", [value.name]))
            held = [part.to_numpy() for part in columns]
            return self._all(
                [names, value.index.to_numpy(), str([c.dtype for c in columns]), *held], place
            )
        if top == "pandas" and hasattr(value, "to_numpy"):
            return self._all([value.to_numpy(), str(value.dtype)], place)
        if top == "sympy":
            return str(value)
        if isinstance(value, dict):
            return self._all(
                [list(value), *value.values(), getattr(value, "__dict__", None)], place
            )
        if isinstance(value, (set, frozenset)):
            return ", ".join(sorted(self.digest(part, place) for part in value))
        if isinstance(value, (list, tuple)):
            return self._all(value, place)
        if isinstance(value, types.FunctionType):
            code = value.__code__
            consts = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
            parts = [value.__qualname__, code.co_code, code.co_names, consts]
            return self._all([*parts, value.__defaults__, vars(value)], place)
        if isinstance(value, type):
            return self._class(value, place)
        if isinstance(value, BaseException):
            return self._all([value.args, vars(value)], place)
        if isinstance(value, random.Random):
            return self.digest(value.getstate(), place)
        if hasattr(value, "bit_generator"):
            return self.digest(value.bit_generator.state, place)
        if hasattr(kind, "__next__"):
            return ""
        if isinstance(getattr(value, "__dict__", None), dict):
            kept = {k: v for k, v in value.__dict__.items() if not _is_cache(kind, k)}
            return self._all([kept], place)
        return re.sub(r"0x[0-9a-f]+", "0x", repr(value))

    def _array(self, value: Any, place: str) -> str:
        shape = (
            f"{value.dtype.str} {value.shape} {value.flags.c_contiguous} {value.flags.f_contiguous}"
        )
        if value.dtype.hasobject:
            return f"{shape} {self._all(value.flat, place)}"
        return f"{shape} {hashlib.sha1(value.tobytes()).hexdigest()} {getattr(value, 'mask', '')}"

    def _class(self, value: type, place: str) -> str:
        if value.__module__ != "__main__":
            return value.__qualname__
        members = {k: v for k, v in sorted(vars(value).items()) if not k.startswith("__")}
        return self._all([value.__qualname__, value.__bases__, members], place)


def _is_cache(kind: type, name: str) -> bool:
    """Tell whether an attribute is one that is made when it is read: it may be there or not."""
    return isinstance(getattr(kind, name, None), functools.cached_property)
