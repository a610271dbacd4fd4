"""Which names a code object reads: globals, attributes, imports; nested code included."""

from __future__ import annotations

import dis
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary


class ImportedName(NamedTuple):
    """One import statement, as written."""

    name: str
    level: int = 0
    """How many dots stand before the name."""
    members: tuple[str, ...] = ()
    """What ``from name import …`` takes from it: attributes, or modules inside."""


@dataclass(frozen=True)
class CodeNames:
    """The names one code object uses."""

    globals: tuple[str, ...]
    """Looked up in the global namespace, in order of first use."""
    all: frozenset[str]
    """Every name in it, attributes included: what it may read of a module it holds."""
    imports: tuple[ImportedName, ...]
    """What it imports when it runs."""


def _opcodes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


# A class body inside a function reads globals with LOAD_NAME (3.12: LOAD_FROM_DICT_OR_GLOBALS).
_GLOBAL: Final = _opcodes(
    "LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"
)
_IMPORT: Final = dis.opmap["IMPORT_NAME"]
_CONSTANT: Final = dis.opmap["LOAD_CONST"]
_SMALL_INT: Final = dis.opmap.get("LOAD_SMALL_INT", -1)  # since 3.14
_EXTENDED: Final = dis.opmap["EXTENDED_ARG"]
#: Since 3.11 the lowest bit of LOAD_GLOBAL's argument says "and push a NULL".
_SHIFTED: Final = _opcodes("LOAD_GLOBAL") if sys.version_info >= (3, 11) else frozenset()

_known: WeakKeyDictionary[CodeType, CodeNames] = WeakKeyDictionary()


def names_of(code: CodeType) -> CodeNames:
    """Return the names `code` uses; found once for each code object."""
    names = _known.get(code)
    if names is None:
        names = _known[code] = _read(code)
    return names


def _read(code: CodeType) -> CodeNames:
    # Reads the bytes rather than `dis.get_instructions`, which takes ten times as long and
    # would be most of the cost of capturing a fresh cell.
    global_names: dict[str, None] = {}
    imports: dict[ImportedName, None] = {}
    table = code.co_names
    if table:
        raw = code.co_code
        extended = 0
        before: Any = None  # the latest constants on the stack: before an import, level and members
        last: Any = None
        for op, arg in zip(raw[::2], raw[1::2]):
            if op == _EXTENDED:
                extended = (extended | arg) << 8
                continue
            if op in _GLOBAL:
                index = extended | arg
                global_names[table[index >> 1 if op in _SHIFTED else index]] = None
            elif op == _CONSTANT:
                before, last = last, code.co_consts[extended | arg]
            elif op == _SMALL_INT:
                before, last = last, arg
            elif op == _IMPORT:
                imports[ImportedName(table[extended | arg], before, last or ())] = None
            extended = 0
    names = set(table)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            nested = names_of(constant)
            global_names.update(dict.fromkeys(nested.globals))
            imports.update(dict.fromkeys(nested.imports))
            names |= nested.all
    return CodeNames(tuple(global_names), frozenset(names), tuple(imports))
