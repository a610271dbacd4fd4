"""The button: an ordinary cell, its independent loops run elsewhere, the rest here."""

from .cell import WORTH_A_LINE, Button, Report, Runner, run_plainly, show_output
from .decision import Overhead, decide
from .engine import Mapper
from .loop import LoopReport
from .plan import CellPlan, LoopPlan, plan

__all__ = [
    "WORTH_A_LINE",
    "Button",
    "CellPlan",
    "LoopPlan",
    "LoopReport",
    "Mapper",
    "Overhead",
    "Report",
    "Runner",
    "decide",
    "plan",
    "run_plainly",
    "show_output",
]
