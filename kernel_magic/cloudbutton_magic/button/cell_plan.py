"""What a cell would become, without running it: verdicts, and the rewritten code to read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from cloudbutton_magic.analysis import Loop, Namespace, NotIndependent, Parallel, Verdict, analyse
from cloudbutton_magic.rewriting import loop_functions as code
from cloudbutton_magic.rewriting.cell_rewrite import early_view, instrument, seen_by


@dataclass(frozen=True)
class LoopPlan:
    """One loop, as far as it can be judged before the cell runs."""

    loop: Loop
    verdict: Verdict

    def source(self) -> str:
        """Return readable Python for what happens to the loop; a comment where nothing does."""
        if isinstance(self.verdict, NotIndependent):
            return f"# {self.verdict}\n"
        return _readable(self.loop, self.verdict)


@dataclass(frozen=True)
class CellPlan:
    """A cell that was not run."""

    loops: tuple[LoopPlan, ...]
    refused: tuple[NotIndependent, ...]
    """Loops whose text alone shows that they must run here."""

    def source(self) -> str:
        """Return the plan of the whole cell as readable Python."""
        parts = [plan.source() for plan in self.loops]
        parts += [f"# {refused}\n" for refused in self.refused]
        return "\n\n".join(parts) or "# No loop: all of the cell runs here.\n"


def plan(tree: ast.Module, namespace: Mapping[str, object]) -> CellPlan:
    """Judge the loops of a cell before it runs.

    What the cell itself binds is not known yet, so the verdict when a loop is reached may
    still be a refusal, or come from a value that the text does not show.
    """
    live = early_view(tree, Namespace(namespace))
    cell = instrument(tree, Namespace(namespace))
    plans = (LoopPlan(loop, analyse(loop, seen_by(loop, live))) for loop in cell.loops)
    return CellPlan(tuple(plans), cell.refused)


def _readable(loop: Loop, verdict: Parallel) -> str:
    """Return the loop as the user might have written it with `cloud.map`."""
    trees = code.build(loop, verdict)
    names = {"body": "work", "apply": "put"}
    text = ast.unparse(ast.fix_missing_locations(ast.Module([trees.body], [])))
    text = text.replace("(__cb_item, __cb_op, __cb_gone, __cb_keep, __cb_check)", "(item)")
    if loop.kind == "for":
        text += "\n\n\n" + ast.unparse(ast.fix_missing_locations(ast.Module([trees.apply], [])))
        use = f"for ops in cloud.map(work, {ast.unparse(loop.iter)}).results():\n    put(ops)"
    else:
        use = f"cloud.map(work, {ast.unparse(loop.iter)})  # in place of the {loop.kind}"
    for old, new in names.items():
        text = text.replace(code.PREFIX + old, new)
    return f"# {verdict.explain()}\n{text.replace(code.PREFIX, '')}\n\n\n{use}\n"
