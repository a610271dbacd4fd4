"""HTML and SVG put together so that text can never be markup: whatever is no `Markup` is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Iterable[str | None] | None

_SHAPES = frozenset({"line", "path", "rect"})
#: XML has no place for them, not even escaped.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def element(tag: str, *children: Child, **attributes: object) -> Markup:
    """Return an element; `class_` and `font_size` stand for the attributes `class` and `font-size`."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag == "meta":
        return Markup(f"<meta{said}>")
    if tag in _SHAPES and not children:
        return Markup(f"<{tag}{said}/>")
    return Markup(f"<{tag}{said}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Markup:
    """Return children one after the other: markup as it is, text escaped, None as nothing."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(escaped(child))
        elif child is not None:
            parts.append(joined(child))
    return Markup("".join(parts))


def prose(text: str) -> Markup:
    """Return a sentence in which what stands between backticks is code."""
    parts = re.split(r"`([^`]+)`", text)
    return joined(element("code", part) if at % 2 else part for at, part in enumerate(parts))


def escaped(text: str) -> str:
    """Return text that shows as it is, in content and in attributes."""
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))
