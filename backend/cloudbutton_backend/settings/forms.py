"""Settings as JSON schemas, from which the panel makes forms: one derivation for all backends.

A backend may declare its settings as a dataclass, whose fields say more if they are `setting(…)`. Of any
other backend the signature and the docstring are read.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Union

from cloudbutton_backend.errors import UsageError

_JSON_TYPES: Final = {
    bool: "boolean", int: "integer", float: "number", str: "string",
}  # fmt: skip
_EXPECTED: Final = {
    bool: "true or false, without quotes",
    int: "a whole number",
    float: "a number",
    str: "text, in quotes",
}


def setting(
    default: Any,
    title: str,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
) -> Any:
    """Return the field of a settings dataclass: its default, and what a form says about it."""
    form: dict[str, Any] = {"title": title, "description": description}
    if minimum is not None:
        form["minimum"] = minimum
    if maximum is not None:
        form["maximum"] = maximum
    return dataclasses.field(default=default, metadata={"form": form, "unit": unit})


def check(settings: Any) -> None:
    """Refuse values of a settings dataclass that have another type, or are out of bounds.

    Files may hold anything, and any text that is not empty is true.

    Raises
    ------
    UsageError
        Naming the setting, its value and what it must be.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        kinds, is_optional = _kinds(hints[field.name])
        value = getattr(settings, field.name)
        if "form" not in field.metadata or (value is None and is_optional):
            continue
        unit = field.metadata["unit"]
        kind = str if typing.get_origin(hints[field.name]) is Literal else kinds[0]
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            of = f", of {unit}" if unit else ""
            raise UsageError(f"`{field.name}` is {value!r}; it must be {_EXPECTED[kind]}{of}.")
        _check_bounds(field.name, value, unit, field.metadata["form"])


def _check_bounds(name: str, value: Any, unit: str, form: Mapping[str, Any]) -> None:
    least, most = form.get("minimum"), form.get("maximum")
    if least is None or least <= value <= (math.inf if most is None else most) != value:
        return
    unit = f" {unit}" if unit else ""
    if most is None:
        raise UsageError(f"`{name}` must be {least:,}{unit} or more, not {value:g}.")
    raise UsageError(f"`{name}` must be between {least:,} and {most:,}{unit}, not {value:,}.")


def variable_names(text: Any) -> tuple[str, ...]:
    """Return the names of environment variables that stand in `text` with commas in between.

    Raises
    ------
    UsageError
        It is no text.
    """
    if not isinstance(text, str):
        raise UsageError(
            f"`variables` is {text!r}; it must be names with commas in between, in quotes."
        )
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def schema_of(settings: type) -> dict[str, Any]:
    """Return the JSON schema of a settings dataclass. Live objects, which are `Any`, are in no form."""
    hints = typing.get_type_hints(settings)
    return _schema(
        {
            field.name: field.metadata.get("form", {"title": _titled(field.name)})
            | _typed(hints[field.name], field.default)
            for field in dataclasses.fields(settings)
            if hints[field.name] is not Any
        }
    )


def schema_of_signature(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of what makes a backend, by its signature and docstring.

    As for `registry.create`, parameters that may be given by position are settings; keyword-only
    ones (clocks and the like) are for tests.
    """
    described = _parameters(inspect.getdoc(make) or "")
    hints = _hints(make)
    return _schema(
        {
            name: {
                "title": _titled(name),
                "description": described.get(name, ""),
                **_typed(hints.get(name), parameter.default),
            }
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        }
    )


def _schema(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _titled(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _typed(hint: Any, default: Any) -> dict[str, Any]:
    """Return the type of a property, and its default where JSON has such a value."""
    if typing.get_origin(hint) is Literal:
        found: dict[str, Any] = {"enum": list(typing.get_args(hint))}
    else:
        kinds, is_optional = _kinds(hint)
        names = [_JSON_TYPES[kind] for kind in kinds if kind in _JSON_TYPES]
        names += ["null"] * is_optional
        found = {"type": names if len(names) > 1 else names[0]} if names else {}
    if default is None or isinstance(default, (bool, int, float, str)):
        found["default"] = default
    return found


def _kinds(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the types that a value may have, and whether it may be None."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        parts = typing.get_args(hint)
        return tuple(part for part in parts if part is not type(None)), type(None) in parts
    return (typing.get_origin(hint) or hint,), False


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    function = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except NameError:  # a type that is imported for type checkers only
        return {}


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
