"""Draws the tree of our errors from the classes: `python tools/error_tree.py [--write]`.

With `--write`, the drawing replaces the one in the docstring of `errors.py` and the one in `docs/errors.md`.
A line says of a class what its docstring begins with.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = (
    "backend/cloudbutton_backend",
    "kernel_magic/cloudbutton_magic",
    "cloudbutton_ext",
)
HOME: Final = "backend/cloudbutton_backend/errors.py"
TOP: Final = "CloudError"
#: Files with a drawing, and what stands before each of its lines.
DRAWN_IN: Final = {HOME: "    ", "docs/errors.md": ""}


@dataclass(frozen=True)
class ErrorClass:
    """One class of the tree."""

    name: str
    bases: tuple[str, ...]
    about: str
    file: str


def error_classes(root: Path = ROOT) -> dict[str, ErrorClass]:
    """Return the classes below `CloudError` by name: those of `errors.py` in its order, then the others."""
    found: dict[str, ErrorClass] = {}
    files = [root / HOME]
    files += [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    for path in dict.fromkeys(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                about = (ast.get_docstring(node) or "").partition("\n")[0]
                file = path.relative_to(root).as_posix()
                found.setdefault(node.name, ErrorClass(node.name, bases, about, file))
    ours = {TOP}
    while more := {each.name for each in found.values() if ours & {*each.bases}} - ours:
        ours |= more
    return {name: each for name, each in found.items() if name in ours - {TOP}}


def drawing(classes: dict[str, ErrorClass]) -> list[str]:
    """Return the lines of the tree."""
    rows = [(TOP, "")]

    def draw(parent: str, indent: str) -> None:
        below = [each for each in classes.values() if each.bases[:1] == (parent,)]
        for each in below:
            is_last = each is below[-1]
            too = "".join(f" ({_a(base)} `{base}`, too)" for base in each.bases[1:])
            about = each.about.partition(";")[0].rstrip(".")
            rows.append((f"{indent}{'└──' if is_last else '├──'} {each.name}", about + too))
            draw(each.name, indent + ("    " if is_last else "│   "))

    draw(TOP, "")
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:<{width}}{about}".rstrip() for name, about in rows]


def _a(noun: str) -> str:
    return "an" if noun[0] in "AEIOU" else "a"


def redrawn(text: str, lines: Sequence[str], indent: str) -> str:
    """Return `text` with its drawing replaced."""
    first = text.index(f"{indent}{TOP}\n")
    end = first
    for line in text[first:].splitlines(keepends=True):
        if line.strip() != TOP and line.strip()[:1] not in ("├", "└", "│"):
            break
        end += len(line)
    return text[:first] + "".join(f"{indent}{line}\n" for line in lines) + text[end:]


def main(arguments: Sequence[str]) -> int:
    """Print the tree, or write it where it is drawn."""
    lines = drawing(error_classes())
    if "--write" not in arguments:
        print("\n".join(lines))
        return 0
    for name, indent in DRAWN_IN.items():
        path = ROOT / name
        path.write_text(redrawn(path.read_text(encoding="utf-8"), lines, indent), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
