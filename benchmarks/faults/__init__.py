"""What breaks when things go wrong, counted: workers, kernels, disks and clocks that fail, on purpose.

::

    __main__.py   python -m benchmarks.faults          scenarios/   what is done, one module for each kind
    report.py     the table                            kernels.py   other processes: started, heard, killed
    tally.py      what a scenario counts               roles.py     what those processes do
    judge.py      what came back against what should   tasks.py     what jobs run; each execution is noted
    waiting.py    never for ever
"""
