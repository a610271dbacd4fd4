"""What a loop's iteration reads, writes and carries; whether iterations are independent.

Pure: text and live values in, frozen verdicts out. One module per question:

* `called`     which functions it calls just once, so that their loops are looked at too
* `loops`      which loops a cell has, each with the body of one iteration
* `names`      what code reads and binds, as Python scopes names
* `flow`       what an iteration reads before binding it
* `changes`    which objects code changes in place, and through which names
* `calls`      what the functions it calls do (`functions` finds their source)
* `sets`       where the order of a set would show
* `iterables`  whether the iterable can be walked ahead
* `splitting`  the cut into work for workers and statements the kernel runs in order
* `judge`      the coordinator
* `trees`      walking syntax trees
* `verdict`    the answers, with their sentences
"""

from cloudbutton_magic.analysis.called_once import CalledOnce, called_once
from cloudbutton_magic.analysis.independence import analyse
from cloudbutton_magic.analysis.loops import Loop, find_loops, inner_loops, suspends
from cloudbutton_magic.analysis.namespace import UNKNOWN, Live, Namespace
from cloudbutton_magic.analysis.verdict import LoopSite, NotIndependent, Parallel, Reason, Verdict

__all__ = [
    "UNKNOWN",
    "CalledOnce",
    "Live",
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
    "inner_loops",
    "suspends",
]
