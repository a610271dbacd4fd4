"""A backend's settings as a JSON schema, read off the signature and docstring of what makes it."""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any, Final, Literal, Union

from cloudbutton_backend.backends.capabilities import HasSettingsForm
from cloudbutton_backend.backends.registry import BackendMaker

_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}


def settings_schema(maker: BackendMaker) -> dict[str, Any]:
    """Return the JSON schema of a backend's settings: its own `settings_schema()`, or a derived one.

    As for `registry.create`, parameters that may be given by position are settings; keyword-only
    ones (clocks and the like) are for tests.
    """
    if isinstance(maker, HasSettingsForm):
        return dict(maker.settings_schema())
    described = _parameters(inspect.getdoc(maker) or "")
    hints = _hints(maker)
    properties = {}
    for name, parameter in inspect.signature(maker).parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            continue
        properties[name] = {
            "title": name.replace("_", " ").capitalize(),
            "description": described.get(name, ""),
            **_type(hints.get(name)),
        }
        if parameter.default is not parameter.empty and _is_plain(parameter.default):
            properties[name]["default"] = parameter.default
    return {"type": "object", "properties": properties, "additionalProperties": False}


def summary(maker: BackendMaker) -> str:
    """Return the first paragraph of the docstring, as one line."""
    paragraph = (inspect.getdoc(maker) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _hints(maker: BackendMaker) -> dict[str, Any]:
    function = maker.__init__ if isinstance(maker, type) else maker  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except NameError:  # a type that is imported for type checkers only
        return {}


def _type(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [_TYPES[each] for each in typing.get_args(hint) if each in _TYPES]
        return {"type": [*kinds, "null"] if type(None) in typing.get_args(hint) else kinds}
    return {"type": _TYPES[hint]} if hint in _TYPES else {}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _parameters(docstring: str) -> dict[str, str]:
    """Return the descriptions in a NumPy docstring's section "Parameters", by name."""
    found = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", docstring, re.M | re.S)
    described: dict[str, str] = {}
    names: list[str] = []
    for line in found[1].splitlines() if found else ():
        if line and not line[0].isspace():
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif line.strip():
            for name in names:
                described[name] = f"{described.get(name, '')} {line.strip()}".strip()
    return described
