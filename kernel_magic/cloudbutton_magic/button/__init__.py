"""The button: an ordinary cell, its independent loops run elsewhere, the rest here."""

from cloudbutton_magic.button.cell_plan import CellPlan, LoopPlan, plan
from cloudbutton_magic.button.cell_run import (
    WORTH_A_LINE,
    Button,
    CellReport,
    LoopRunner,
    run_plainly,
    show_output,
)
from cloudbutton_magic.button.engine import Mapper
from cloudbutton_magic.button.loop_run import LoopReport
from cloudbutton_magic.button.worth_it import StartOverhead, decide

__all__ = [
    "WORTH_A_LINE",
    "Button",
    "CellPlan",
    "CellReport",
    "LoopPlan",
    "LoopReport",
    "LoopRunner",
    "Mapper",
    "StartOverhead",
    "decide",
    "plan",
    "run_plainly",
    "show_output",
]
