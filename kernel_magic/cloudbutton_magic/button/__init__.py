"""The button: an ordinary cell, its independent loops run elsewhere, the rest here."""

from .cell import Button, Report, Runner, run_plainly, show_output
from .decision import Overhead, decide
from .engine import Mapper
from .loop import LoopReport

__all__ = [
    "Button",
    "LoopReport",
    "Mapper",
    "Overhead",
    "Report",
    "Runner",
    "decide",
    "run_plainly",
    "show_output",
]
