"""Walks syntax trees, each only once: the same few subtrees are asked about again and again."""

from __future__ import annotations

import ast
from typing import Final

#: For a node's id, the node itself (so that the id stays its own) and all below it.
_walked: Final[dict[int, tuple[ast.AST, tuple[ast.AST, ...]]]] = {}
_ENOUGH: Final = 100_000


def walk(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return `node` and all nodes below it, in the order of the text.

    For trees that nobody changes: the answer is kept.
    """
    known = _walked.get(id(node))
    if known is not None:
        return known[1]
    found = [node]
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found += walk(value)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, ast.AST):
                    found += walk(part)
    if len(_walked) > _ENOUGH:
        _walked.clear()
    answer = tuple(found)
    # Names and constants are walked as quickly as they are looked up.
    if len(answer) > 2:
        _walked[id(node)] = node, answer
    return answer
