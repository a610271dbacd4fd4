"""From a verdict to code: the loop's body for a worker, its bookkeeping for the kernel.

* `body`    the two functions made from a loop
* `cell`    the cell with its loops handed to the runner
* `graph`   the objects reached from a value: watched, compared, named by their path
* `habits`  settings of the process that change results
* `twin`    a function of the cell with its loops handed over, for its one call
* `remote`  what runs around the body in the worker, and how results keep the identity of the kernel's objects
"""
