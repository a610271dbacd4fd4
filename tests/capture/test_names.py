"""The names that code uses are those the disassembler finds."""

from __future__ import annotations

import dis
from types import CodeType
from typing import Any

import pytest

from cloudbutton_backend.capture.closure import ImportedName, names_of

MODULES = ["ast", "dataclasses", "enum", "inspect", "json.decoder", "typing", "pickletools"]
GLOBAL = {
    *("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME"),
    "LOAD_FROM_DICT_OR_GLOBALS",
}


def nested(code: CodeType) -> list[CodeType]:
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return [code, *(found for c in inner for found in nested(c))]


@pytest.mark.parametrize("module", MODULES)
def test_agrees_with_the_disassembler(module: str) -> None:
    path = __import__(module, fromlist=["x"]).__file__
    with open(path) as file:
        top = compile(file.read(), path, "exec")
    for code in nested(top):
        instructions = [i for c in nested(code) for i in dis.get_instructions(c)]
        names = names_of(code)
        assert set(names.globals) == {i.argval for i in instructions if i.opname in GLOBAL}
        imports = {
            (i.argval, level.argval, members.argval or ())
            for level, members, i in zip(instructions, instructions[1:], instructions[2:])
            if i.opname == "IMPORT_NAME"
        }
        assert set(names.imports) == imports


def test_sees_names_past_the_first_256(notebook: Any) -> None:
    many = "\n".join(f"    a{i}" for i in range(300))
    notebook(f"def f():\n{many}\n    import last")
    names = names_of(notebook["f"].__code__)
    assert names.globals[299] == "a299"
    assert names.imports == (ImportedName("last"),)
