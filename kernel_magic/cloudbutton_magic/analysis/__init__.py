"""Decide whether the iterations of a loop are independent: what one reads, writes and carries.

Pure: text and live values in, frozen verdicts out. One module per question:

* `loops`            which loops a cell has, each with the body of one iteration
* `called_once`      which functions it calls just once, so that their loops are analysed too
* `syntax`           what code reads and binds, as Python scopes names; walking syntax trees
* `namespace`        what a name stands for now, and which values are connected
* `data_flow`        what an iteration reads before binding it
* `mutations`        which objects code changes in place, and through which names
* `call_rules`       what the functions it calls do (`user_functions` finds their source)
* `type_facts`       which methods of builtin and library types change their object
* `set_order`        where the order of a set would show
* `iterables`        whether the iterable can be walked ahead
* `body_split`       the cut into work for workers and statements that the kernel runs in order
* `statement_split`  the same cut within one statement
* `independence`     the coordinator
* `verdict`          the answers, with their sentences
"""

from cloudbutton_magic.analysis.called_once import CalledOnce, called_once
from cloudbutton_magic.analysis.independence import analyse
from cloudbutton_magic.analysis.loops import Loop, find_loops, first_await, inner_loops
from cloudbutton_magic.analysis.namespace import UNKNOWN, LiveNames, Namespace
from cloudbutton_magic.analysis.verdict import (
    LoopSite,
    NotIndependent,
    Parallel,
    Reason,
    Verdict,
    stays_here,
)

__all__ = [
    "UNKNOWN",
    "CalledOnce",
    "LiveNames",
    "Loop",
    "LoopSite",
    "Namespace",
    "NotIndependent",
    "Parallel",
    "Reason",
    "Verdict",
    "analyse",
    "called_once",
    "find_loops",
    "first_await",
    "inner_loops",
    "stays_here",
]
