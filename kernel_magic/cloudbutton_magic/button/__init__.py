"""The button: an ordinary cell, its independent loops run elsewhere, the rest here."""

from cloudbutton_magic.button.cell_run import (
    WORTH_A_LINE,
    Button,
    CellReport,
    LoopRunner,
    run_unchanged,
    show_output,
)
from cloudbutton_magic.button.loop_run import LoopReport, Mapper, StartOverhead, is_worth_sending
from cloudbutton_magic.rewriting.cell_rewrite import CellPlan, LoopPlan, plan

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
    "is_worth_sending",
    "plan",
    "run_unchanged",
    "show_output",
]
