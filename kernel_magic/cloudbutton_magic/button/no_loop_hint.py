"""What to say of a cell that took its time and has no loop that the button could look at."""

from __future__ import annotations

import ast

from cloudbutton_magic.analysis.syntax_trees import walk

_LOOPS = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def nothing_to_send(tree: ast.Module) -> str:
    """Return one line for the user: what the button looks for, and how to write it here."""
    advice = next((text for node in walk(tree) if (text := _advice(node))), "")
    hint = f" ({advice})" if advice else ""
    if any(isinstance(node, _LOOPS) for node in walk(tree)):
        lack = "those of this cell are inside functions, lambdas or generators"
    else:
        lack = "this cell has none"
    return f"ran here: `%%cloud` looks at `for` loops and comprehensions; {lack}{hint}"


def _advice(node: ast.AST) -> str:
    """Return how a call that loops inside could be written as a comprehension."""
    if not isinstance(node, ast.Call) or not node.args:
        return ""
    function, *others = node.args
    if isinstance(node.func, ast.Name) and node.func.id == "map" and len(others) == 1:
        return _instead("list(map({f}, {xs}))", "[{f}(x) for x in {xs}]", function, others[0])
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("apply", "map"):
        return ""
    owner = node.func.value
    call = f"{{xs}}.{node.func.attr}({{f}})"
    if isinstance(owner, ast.Call) and getattr(owner.func, "attr", "") == "groupby":
        return _instead(call, "[{f}(group) for _, group in {xs}]", function, owner)
    if any(keyword.arg == "axis" for keyword in node.keywords):
        call = "{xs}.apply({f}, axis=1)"
        return _instead(call, "[{f}(row) for _, row in {xs}.iterrows()]", function, owner)
    return _instead(call, "[{f}(x) for x in {xs}]", function, owner)


def _instead(call: str, comprehension: str, function: ast.expr, iterable: ast.expr) -> str:
    f = ast.unparse(function) if isinstance(function, (ast.Name, ast.Attribute)) else "f"
    xs = ast.unparse(iterable)
    xs = xs if len(xs) <= 40 else "xs"
    before, after = (text.format(f=f, xs=xs) for text in (call, comprehension))
    return f"`{before}` can be written as `{after}`"
