"""A small table with a title: what `%cloud jobs`, `use`, `config` and `doctor` answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudbutton_magic.display.html import card, marked, table


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under a header, as text and as HTML."""

    title: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        lines = [self.header, *self.rows] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        drawn = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {line}" for line in drawn), *self.notes])

    def _repr_html_(self) -> str:
        parts = [f'<div class="cb-head">{marked(self.title)}</div>']
        if self.rows:
            parts.append(table(self.header, self.rows))
        parts += [f'<div class="cb-muted">{marked(note)}</div>' for note in self.notes]
        return card("\n".join(parts), tone="running", label=self.title)
