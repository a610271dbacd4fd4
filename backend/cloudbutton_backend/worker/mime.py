"""The MIME bundle of a displayed object, where IPython is not installed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection
from typing import Any, Final

_METHODS: Final = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "text/latex": "_repr_latex_",
    "image/svg+xml": "_repr_svg_",
    "image/png": "_repr_png_",
    "image/jpeg": "_repr_jpeg_",
    "application/pdf": "_repr_pdf_",
    "application/json": "_repr_json_",
    "application/javascript": "_repr_javascript_",
}
"""The methods that IPython documents for objects which know how to be displayed."""
_CANARY: Final = "_ipython_canary_method_should_not_exist_"
"""Whatever has this has every name that is asked for, and means nothing by it."""


def bundle_of(
    thing: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an object's MIME bundle and its metadata, both empty if it displayed itself.

    Parameters
    ----------
    thing
        What is displayed.
    include, exclude
        Only these MIME types; not these.
    """
    if _method(thing, "_ipython_display_") is not None:
        thing._ipython_display_()
        return {}, {}
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    whole = _asked(thing, "_repr_mimebundle_", include=include, exclude=exclude)
    if whole is not None:
        own, notes = whole if isinstance(whole, tuple) else (whole, {})
        data.update(own)
        metadata.update(notes)
    for kind, name in _METHODS.items():
        found = None if kind in data else _asked(thing, name)
        if found is not None:
            data[kind], notes = found if isinstance(found, tuple) else (found, {})
            if notes:
                metadata[kind] = notes
    data.setdefault("text/plain", repr(thing))

    def chosen(by_kind: dict[str, Any]) -> dict[str, Any]:
        return {
            kind: value
            for kind, value in by_kind.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    return chosen(data), chosen(metadata)


def _method(thing: Any, name: str) -> Any:
    """Return a method of an object by which it is displayed, None if it has none."""
    if isinstance(thing, type) or getattr(thing, _CANARY, None) is not None:
        return None
    found = getattr(thing, name, None)
    return found if callable(found) else None


def _asked(thing: Any, name: str, **options: Any) -> Any:
    """Return what a method says; one that fails is reported, and the others are asked on."""
    method = _method(thing, name)
    if method is None:
        return None
    try:
        return method(**options)
    except NotImplementedError:
        return None
    except Exception:
        sys.stderr.write(traceback.format_exc())
        return None
